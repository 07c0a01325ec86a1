// SPDX-License-Identifier: Apache-2.0
// Scores: q x K. bf16 pages: q rounded to bf16, VDPBF16PS. int8 pages: q as two int8 numbers (about 15 bits),
// exact integer sums by VPDPBUSD.
//
// A tile of R query rows x C vectors of 16 cache rows stays in registers: at 6 x 4, one load of K serves six
// multiplications, and one of q four. While a group is read, the next one is on its way into L2: into L1 it
// would come slower, because L1 has too few loads under way to hide the memory's latency.
#include <algorithm>

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

// Queries of a block on int8 pages. Words hold four channels. Tile after tile: [head_dim/4][tile rows][high,
// low].
struct Int8Queries {
  float scale[kBlockRows];          // q = scale * (high + low / 254)
  int32_t high_offset[kBlockRows];  // 128 * sum of the codes, for K's offset
  int32_t low_offset[kBlockRows];
};
constexpr size_t kInt8Codes = 128;  // where the words begin
static_assert(sizeof(Int8Queries) <= kInt8Codes);

float largest_magnitude(const float* x, int n) {
  __m512 largest = _mm512_setzero_ps();
  for (int c = 0; c < n; c += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + c)));
  return _mm512_reduce_max_ps(largest);
}

void pack_int8_row(const float* x, int row, int n_rows, int head_dim, std::byte* packed) {
  Int8Queries& queries = *reinterpret_cast<Int8Queries*>(packed);
  const int first = row / kInt8TileRows * kInt8TileRows;  // of the tile
  const int tile_words = 2 * std::min(kInt8TileRows, n_rows - first);
  int32_t* words = reinterpret_cast<int32_t*>(packed + kInt8Codes) + first * head_dim / 2 + (row - first) * 2;
  const float largest = std::min(largest_magnitude(x, head_dim), 1e30f);
  const float scale = largest / 127.0f;
  const __m512 inverse = _mm512_set1_ps(largest > 1e-30f ? 127.0f / largest : 0.0f);
  __m512i high_sum = _mm512_setzero_si512(), low_sum = _mm512_setzero_si512();
  for (int c = 0; c < head_dim; c += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + c), inverse);
    const __m512i high_code = _mm512_cvtps_epi32(scaled);
    const __m512 rest = _mm512_sub_ps(scaled, _mm512_cvtepi32_ps(high_code));
    const __m512i low_code = _mm512_cvtps_epi32(_mm512_mul_ps(rest, _mm512_set1_ps(254.0f)));
    high_sum = _mm512_add_epi32(high_sum, high_code);
    low_sum = _mm512_add_epi32(low_sum, low_code);
    alignas(16) int32_t codes[2][4];
    _mm_store_si128(reinterpret_cast<__m128i*>(codes[0]), _mm512_cvtsepi32_epi8(high_code));
    _mm_store_si128(reinterpret_cast<__m128i*>(codes[1]), _mm512_cvtsepi32_epi8(low_code));
    for (int i = 0; i < 4; ++i, words += tile_words) {
      words[0] = codes[0][i];
      words[1] = codes[1][i];
    }
  }
  queries.scale[row] = scale;
  queries.high_offset[row] = 128 * _mm512_reduce_add_epi32(high_sum);
  queries.low_offset[row] = 128 * _mm512_reduce_add_epi32(low_sum);
}

// Words of K are 64 bytes apart in a bf16 page (16 rows), 128 in an int8 page (2 x 16 rows).
template <int R, int C>
void scores_bf16(const CacheGroup& group, const uint32_t* q, float (*scores)[kGroupRows]) {
  __m512 acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();
  }
  const int n_words = group.head_dim / 2;
  for (int w = 0; w < n_words; ++w, q += R) {
    __m512i k[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      k[c] = _mm512_load_si512(group.pages[c] + w * 64);
      _mm_prefetch(group.next[c] + w * 64, _MM_HINT_T1);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512i pair = _mm512_set1_epi32(static_cast<int>(q[r]));
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], (__m512bh)k[c], (__m512bh)pair);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) _mm512_store_ps(scores[r] + c * kChunk, acc[r][c]);
  }
}

template <int R, int C>
void scores_int8(const CacheGroup& group, const Int8Queries& queries, int first_row, const int32_t* q,
                 float (*scores)[kGroupRows]) {
  Int32x16 high[R][C], low[R][C];
#pragma GCC unroll 3
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      high[r][c] = Int32x16{} - queries.high_offset[first_row + r];
      low[r][c] = Int32x16{} - queries.low_offset[first_row + r];
    }
  }
  const int n_words = group.head_dim / 4;
  for (int w = 0; w < n_words; ++w, q += 2 * R) {
    __m512i k[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      k[c] = _mm512_load_si512(group.pages[c / 2] + w * 128 + c % 2 * 64);
      _mm_prefetch(group.next[c / 2] + w * 128 + c % 2 * 64, _MM_HINT_T1);
    }
#pragma GCC unroll 3
    for (int r = 0; r < R; ++r) {
      const __m512i high_word = _mm512_set1_epi32(q[2 * r]);
      const __m512i low_word = _mm512_set1_epi32(q[2 * r + 1]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        high[r][c] = (Int32x16)_mm512_dpbusd_epi32((__m512i)high[r][c], k[c], high_word);
        low[r][c] = (Int32x16)_mm512_dpbusd_epi32((__m512i)low[r][c], k[c], low_word);
      }
    }
  }
#pragma GCC unroll 3
  for (int r = 0; r < R; ++r) {
    const __m512 scale = _mm512_set1_ps(queries.scale[first_row + r]);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      const __m512 sum =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps((__m512i)low[r][c]), _mm512_set1_ps(1.0f / 254.0f),
                          _mm512_cvtepi32_ps((__m512i)high[r][c]));
      _mm512_store_ps(scores[first_row + r] + c * kChunk, _mm512_mul_ps(sum, scale));
    }
  }
}

using ScoresFn = void (*)(const CacheGroup&, const uint32_t*, float (*)[kGroupRows]);
using Int8Fn = void (*)(const CacheGroup&, const Int8Queries&, int first_row, const int32_t*,
                        float (*)[kGroupRows]);

constexpr ScoresFn kScores[kBlockRows][4] = FC_TILES(scores_bf16);
constexpr Int8Fn kInt8Scores[kInt8TileRows][4] = FC_INT8_TILES(scores_int8);
}  // namespace

// Words are transposed to [words, n_rows], so that the scores read them in order.
void pack_bf16(const float* rows, int n_rows, int head_dim, void* packed) noexcept {
  uint32_t* to = static_cast<uint32_t*>(packed);
  for (int row = 0; row < n_rows; ++row) {
    for (int c = 0; c < head_dim; c += 16) {
      alignas(32) uint32_t pairs[8];
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs),
                         (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(rows + row * head_dim + c)));
      for (int i = 0; i < 8; ++i) to[(c / 2 + i) * n_rows + row] = pairs[i];
    }
  }
}

void pack_int8(const float* rows, int n_rows, int head_dim, void* packed) noexcept {
  for (int row = 0; row < n_rows; ++row) {
    pack_int8_row(rows + row * head_dim, row, n_rows, head_dim, static_cast<std::byte*>(packed));
  }
}

void find_scores_bf16(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  kScores[block.n_rows - 1][block.n_entries - 1](group, static_cast<const uint32_t*>(block.q), scores);
}

void find_scores_int8(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  const std::byte* packed = static_cast<const std::byte*>(block.q);
  const Int8Queries& queries = *reinterpret_cast<const Int8Queries*>(packed);
  const int32_t* words = reinterpret_cast<const int32_t*>(packed + kInt8Codes);
  for (int row = 0; row < block.n_rows; row += kInt8TileRows, words += kInt8TileRows * group.head_dim / 2) {
    const int rows = std::min(kInt8TileRows, block.n_rows - row);
    kInt8Scores[rows - 1][2 * block.n_entries - 1](group, queries, row, words, scores);
  }
}

}  // namespace fastcache::attention::avx512
FC_TARGET_END
#endif
