// SPDX-License-Identifier: Apache-2.0
// The parts of the AVX2 table.
#pragma once

#include "linear/kernels.h"

namespace fastcache::linear::avx2 {

template <FormatId kId>
void quantised_tile(const TileArgs& args);  // kernels_avx2.cc
template <FormatId kId>
void float_tile(const TileArgs& args);                                   // kernels_avx2_float.cc
void quantize(const float* x, int n_blocks, const QuantizedSlots& out);  // kernels_avx2_rows.cc
void round(const float* x, int n_blocks, bf16_t* out);
void gate_up(Gate kind, const float* gate, const float* up, int n, float* out);
void gate_tile(const GateTileArgs& args);

}  // namespace fastcache::linear::avx2
