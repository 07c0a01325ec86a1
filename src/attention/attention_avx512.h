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

// Accumulators of VPDPBUSD. Not __m512i: gcc would keep each twice, as eight and as sixteen numbers, and
// spill.
using Int32x16 = int32_t __attribute__((vector_size(64)));

// Query rows of a tile over int8 pages: each takes two rows of accumulators, for the high and the low part.
constexpr int kInt8TileRows = 3;

// Weights of the block's rows over int8 pages, V's scales included: weight = scale * (256 * high + low).
struct alignas(64) Int8Weights {
  uint8_t code[kBlockRows][2][kGroupRows];  // high, low
  float scale[kBlockRows];                  // of the row and this group of pages alone
};

// attention_avx512_values.cc: block.acc += weights * V. bf16: [block.n_rows][kGroupRows], 64-byte aligned.
void add_values_bf16(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows]);
void add_values_int8(const CacheGroup& group, const QueryBlock& block, const Int8Weights& weights);

// attention_avx512_quantized.cc. offsets: [block.n_rows], what V's zeros add to every channel.
template <kv::KvType type>
void find_scores_quantized(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]);
template <kv::KvType type>
void add_values_quantized(const CacheGroup& group, const QueryBlock& block,
                          const uint16_t (*weights)[kGroupRows], const float* offsets);

}  // namespace fastcache::attention::avx512

// The same for int8 pages: [kInt8TileRows][4].
#define FC_INT8_TILES(f) \
  { FC_TILES_OF_ROW(f, 1), FC_TILES_OF_ROW(f, 2), FC_TILES_OF_ROW(f, 3) }
// A function template f<R, C> as a table [kBlockRows][4] of its tiles: R query rows, C vectors of 16.
#define FC_TILES_OF_ROW(f, r) \
  { f<r, 1>, f<r, 2>, f<r, 3>, f<r, 4> }
#define FC_TILES(f)                                                                             \
  {                                                                                             \
    FC_TILES_OF_ROW(f, 1), FC_TILES_OF_ROW(f, 2), FC_TILES_OF_ROW(f, 3), FC_TILES_OF_ROW(f, 4), \
        FC_TILES_OF_ROW(f, 5), FC_TILES_OF_ROW(f, 6)                                            \
  }
