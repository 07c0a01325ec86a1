// SPDX-License-Identifier: Apache-2.0
// The halves of the AVX-512 kernel; each file instantiates its own tiles. To be called on such a CPU only.
#pragma once

#include "attention/attention_kernel.h"

namespace fastcache::attention::avx512 {

// attention_avx512_scores.cc
void pack_bf16(const float* rows, int n_rows, int head_dim, void* packed) noexcept;
void pack_int8(const float* rows, int n_rows, int head_dim, void* packed) noexcept;
// scores: [block.n_rows][kGroupRows], 64-byte aligned; only those of block.n_entries pages are written.
void find_scores_bf16(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]);
void find_scores_int8(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]);

// attention_avx512_values.cc: block.acc += weights * V. weights: [block.n_rows][kGroupRows] in bf16, 64-byte
// aligned.
void add_values_bf16(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows]);
void add_values_int8(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows]);
void unpack_values_int8(const CacheGroup& group, std::byte* to) noexcept;

}  // namespace fastcache::attention::avx512

// A function template f<R, C> as a table [kBlockRows][4] of its tiles: R query rows, C vectors of 16.
#define FC_TILES_OF_ROW(f, r) \
  { f<r, 1>, f<r, 2>, f<r, 3>, f<r, 4> }
#define FC_TILES(f)                                                                             \
  {                                                                                             \
    FC_TILES_OF_ROW(f, 1), FC_TILES_OF_ROW(f, 2), FC_TILES_OF_ROW(f, 3), FC_TILES_OF_ROW(f, 4), \
        FC_TILES_OF_ROW(f, 5), FC_TILES_OF_ROW(f, 6)                                            \
  }
