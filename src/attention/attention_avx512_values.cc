// SPDX-License-Identifier: Apache-2.0
// The weighted sum of V: by VDPBF16PS over pairs of rows, or by VPDPBUSD over fours of rows, twice: with the
// high and the low part of the weights. A tile of R query rows x C vectors of 16 channels stays in registers.
#include <algorithm>
#include <cstring>

#include "attention/attention_avx512.h"
#include "base/simd.h"

#if defined(__x86_64__)
#if !defined(__clang__)  // false alarms inside the intrinsics of gcc 12
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::attention::avx512 {
namespace {

constexpr int kChunk = 16;

// V of both types is words of 32 bits, [8][head_dim] in a page: two rows of bf16 or four of int8.
constexpr int kPageWords = 8;

inline const std::byte* values_of(const CacheGroup& group, const std::byte* page, int channel) {
  return page + kv::value_offset_bytes(group.head_dim) + channel * 4;
}

template <int R, int C>
void add_bf16(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows],
              int channel) {
  const int head_dim = group.head_dim;
  __m512 acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_loadu_ps(block.acc + r * head_dim + channel + c * kChunk);
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = values_of(group, group.pages[entry], channel);
    const std::byte* next = values_of(group, group.next[entry], channel);
    const uint16_t* pair_weights = weights[0] + entry * 2 * kPageWords;
    for (int pair = 0; pair < kPageWords; ++pair, pair_weights += 2) {
      __m512i v[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const int at = (pair * head_dim + c * kChunk) * 4;
        v[c] = _mm512_load_si512(values + at);
        _mm_prefetch(next + at, _MM_HINT_T1);
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        int both;
        std::memcpy(&both, pair_weights + r * kGroupRows, sizeof(both));
        const __m512i w = _mm512_set1_epi32(both);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], (__m512bh)v[c], (__m512bh)w);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) _mm512_storeu_ps(block.acc + r * head_dim + channel + c * kChunk, acc[r][c]);
  }
}

inline __m512i four_bytes(const uint8_t* at) {
  int all;
  std::memcpy(&all, at, sizeof(all));
  return _mm512_set1_epi32(all);
}

// Sums of one group are whole numbers, below 64 * 65535 * 127 < 2^30: exact in any order.
template <int R, int C>
void add_int8(const CacheGroup& group, const QueryBlock& block, const Int8Weights& weights, int first_row,
              int channel) {
  const int head_dim = group.head_dim;
  Int32x16 high[R][C], low[R][C];
#pragma GCC unroll 3
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) high[r][c] = low[r][c] = Int32x16{};
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = values_of(group, group.pages[entry], channel);
    const std::byte* next = values_of(group, group.next[entry], channel);
    const uint8_t* four_weights = weights.code[first_row][0] + entry * 4 * kPageWords;
    for (int four = 0; four < kPageWords; ++four, four_weights += 4) {
      __m512i v[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        const int at = (four * head_dim + c * kChunk) * 4;
        v[c] = _mm512_load_si512(values + at);
        _mm_prefetch(next + at, _MM_HINT_T1);
      }
#pragma GCC unroll 3
      for (int r = 0; r < R; ++r) {
        const __m512i high_weights = four_bytes(four_weights + 2 * r * kGroupRows);
        const __m512i low_weights = four_bytes(four_weights + (2 * r + 1) * kGroupRows);
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) {
          high[r][c] = (Int32x16)_mm512_dpbusd_epi32((__m512i)high[r][c], high_weights, v[c]);
          low[r][c] = (Int32x16)_mm512_dpbusd_epi32((__m512i)low[r][c], low_weights, v[c]);
        }
      }
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < R; ++r) {
    const __m512 scale = _mm512_set1_ps(weights.scale[first_row + r]);
    float* acc = block.acc + (first_row + r) * head_dim + channel;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const __m512 sum = _mm512_cvtepi32_ps((__m512i)(high[r][c] * 256 + low[r][c]));
      const __m512 before = _mm512_loadu_ps(acc + c * kChunk);
      _mm512_storeu_ps(acc + c * kChunk, _mm512_fmadd_ps(sum, scale, before));
    }
  }
}

using Bf16Fn = void (*)(const CacheGroup&, const QueryBlock&, const uint16_t (*)[kGroupRows], int channel);
using Int8Fn = void (*)(const CacheGroup&, const QueryBlock&, const Int8Weights&, int first_row, int channel);

constexpr Bf16Fn kAddBf16[kBlockRows][4] = FC_TILES(add_bf16);
constexpr Int8Fn kAddInt8[kInt8TileRows][4] = FC_INT8_TILES(add_int8);

int chunks_from(int channel, int head_dim) { return std::min(4, (head_dim - channel) / kChunk); }

}  // namespace

void add_values_bf16(const CacheGroup& group, const QueryBlock& block,
                     const uint16_t (*weights)[kGroupRows]) {
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int chunks = chunks_from(channel, group.head_dim);
    kAddBf16[block.n_rows - 1][chunks - 1](group, block, weights, channel);
  }
}

void add_values_int8(const CacheGroup& group, const QueryBlock& block, const Int8Weights& weights) {
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int chunks = chunks_from(channel, group.head_dim);
    for (int row = 0; row < block.n_rows; row += kInt8TileRows) {
      const int rows = std::min(kInt8TileRows, block.n_rows - row);
      kAddInt8[rows - 1][chunks - 1](group, block, weights, row, channel);
    }
  }
}

}  // namespace fastcache::attention::avx512
FC_TARGET_END
#endif
