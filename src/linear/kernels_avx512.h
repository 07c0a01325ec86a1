// SPDX-License-Identifier: Apache-2.0
// The parts of the AVX-512 table; each file instantiates its own templates, so that they compile side by
// side.
#pragma once

#include "linear/kernels.h"

namespace fastcache::linear::avx512 {

template <FormatId kId>
void quantised_tile(const TileArgs& args);  // kernels_avx512.cc
template <FormatId kId>
void float_tile(const TileArgs& args);                                   // kernels_avx512_float.cc
void bf16_tile(const TileArgs& args);                                    // kernels_avx512_bf16.cc
void quantize(const float* x, int n_blocks, const QuantizedSlots& out);  // kernels_avx512_rows.cc
void round(const float* x, int n_blocks, bf16_t* out);
void gate_up(Gate kind, const float* gate, const float* up, int n, float* out);
void gate_tile(const GateTileArgs& args);

}  // namespace fastcache::linear::avx512
