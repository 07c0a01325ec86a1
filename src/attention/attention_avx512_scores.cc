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

// Queries of a block on int8 pages. Words hold four channels: [head_dim/4, n_rows].
struct Int8Queries {
  float scale[kBlockRows];       // q = scale * (high + low / 254)
  int32_t high_sum[kBlockRows];  // sum of the codes, for K's offset of 128
  int32_t low_sum[kBlockRows];
};
constexpr size_t kInt8Codes = 128;  // where the high codes begin; the low ones follow
static_assert(sizeof(Int8Queries) <= kInt8Codes);

float largest_magnitude(const float* x, int n) {
  __m512 largest = _mm512_setzero_ps();
  for (int c = 0; c < n; c += 16) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(x + c)));
  return _mm512_reduce_max_ps(largest);
}

void pack_int8_row(const float* x, int row, int n_rows, int head_dim, std::byte* packed) {
  Int8Queries& queries = *reinterpret_cast<Int8Queries*>(packed);
  int32_t* high = reinterpret_cast<int32_t*>(packed + kInt8Codes);
  int32_t* low = high + head_dim / 4 * n_rows;
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
    alignas(16) int32_t words[2][4];
    _mm_store_si128(reinterpret_cast<__m128i*>(words[0]), _mm512_cvtsepi32_epi8(high_code));
    _mm_store_si128(reinterpret_cast<__m128i*>(words[1]), _mm512_cvtsepi32_epi8(low_code));
    for (int i = 0; i < 4; ++i) {
      high[(c / 4 + i) * n_rows + row] = words[0][i];
      low[(c / 4 + i) * n_rows + row] = words[1][i];
    }
  }
  queries.scale[row] = scale;
  queries.high_sum[row] = _mm512_reduce_add_epi32(high_sum);
  queries.low_sum[row] = _mm512_reduce_add_epi32(low_sum);
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
void dots_int8(const CacheGroup& group, const int32_t* q, int32_t (*dots)[kGroupRows]) {
  __m512i acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_si512();
  }
  const int n_words = group.head_dim / 4;
  for (int w = 0; w < n_words; ++w, q += R) {
    __m512i k[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      k[c] = _mm512_load_si512(group.pages[c / 2] + w * 128 + c % 2 * 64);
      _mm_prefetch(group.next[c / 2] + w * 128 + c % 2 * 64, _MM_HINT_T1);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512i word = _mm512_set1_epi32(q[r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbusd_epi32(acc[r][c], k[c], word);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) _mm512_store_si512(dots[r] + c * kChunk, acc[r][c]);
  }
}

// scale * ((high - 128 sum) + (low - 128 sum) / 254); sum = sum of the codes.
void combine_dots(const Int8Queries& queries, int n_rows, const int32_t (*high)[kGroupRows],
                  const int32_t (*low)[kGroupRows], float (*scores)[kGroupRows]) {
  for (int r = 0; r < n_rows; ++r) {
    const __m512i high_offset = _mm512_set1_epi32(128 * queries.high_sum[r]);
    const __m512i low_offset = _mm512_set1_epi32(128 * queries.low_sum[r]);
    for (int c = 0; c < kGroupRows; c += kChunk) {
      const __m512 high_dot =
          _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(high[r] + c), high_offset));
      const __m512 low_dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(low[r] + c), low_offset));
      const __m512 sum = _mm512_fmadd_ps(low_dot, _mm512_set1_ps(1.0f / 254.0f), high_dot);
      _mm512_store_ps(scores[r] + c, _mm512_mul_ps(sum, _mm512_set1_ps(queries.scale[r])));
    }
  }
}

using ScoresFn = void (*)(const CacheGroup&, const uint32_t*, float (*)[kGroupRows]);
using DotsFn = void (*)(const CacheGroup&, const int32_t*, int32_t (*)[kGroupRows]);

constexpr ScoresFn kScores[kBlockRows][4] = FC_TILES(scores_bf16);
constexpr DotsFn kDots[kBlockRows][4] = FC_TILES(dots_int8);
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
  alignas(64) int32_t high[kBlockRows][kGroupRows], low[kBlockRows][kGroupRows];
  const std::byte* packed = static_cast<const std::byte*>(block.q);
  const int32_t* codes = reinterpret_cast<const int32_t*>(packed + kInt8Codes);
  const DotsFn dots = kDots[block.n_rows - 1][2 * block.n_entries - 1];
  dots(group, codes, high);
  dots(group, codes + group.head_dim / 4 * block.n_rows, low);
  combine_dots(*reinterpret_cast<const Int8Queries*>(packed), block.n_rows, high, low, scores);
}

}  // namespace fastcache::attention::avx512
FC_TARGET_END
#endif
