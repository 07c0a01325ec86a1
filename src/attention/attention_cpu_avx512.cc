// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI and BF16. bf16 pages: q and the weights are rounded to bf16, products summed in f32 by
// VDPBF16PS. int8 pages: q as two int8 numbers (about 15 bits), exact integer sums by VPDPBUSD; V codes
// become bf16 exactly. f32 pages go to the AVX2 kernel: nothing here would be faster with the same exactness.
//
// Tiles of R query rows x C chunks of 16 cache rows (scores) or x C chunks of 16 channels (weighted sum) stay
// in registers: at 6 x 4, one load of K or V serves six multiplications.
#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "attention/attention_kernel.h"
#include "base/simd.h"

#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // false alarm inside the intrinsics of gcc 12
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::attention {
namespace {

constexpr int kChunk = 16;
constexpr int kChunks = kGroupRows / kChunk;

// Queries of a block on int8 pages. Words hold four channels: [head_dim/4, n_rows].
struct Int8Queries {
  float scale[kBlockRows];       // q = scale * (high + low / 254)
  int32_t high_sum[kBlockRows];  // sum of the codes, for K's offset of 128
  int32_t low_sum[kBlockRows];
};
constexpr size_t kInt8Codes = 128;  // where the high codes begin; the low ones follow
static_assert(sizeof(Int8Queries) <= kInt8Codes);

struct alignas(64) Scratch {
  float scores[kBlockRows][kGroupRows];
  int32_t high[kBlockRows][kGroupRows];
  uint16_t weights[kBlockRows][kGroupRows];  // bf16
};

// ---- packing: words of two (bf16) or four (int8) channels, transposed to [words, n_rows] so that the scores
// read them in order

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

void pack_int8(const float* rows, int n_rows, int head_dim, void* packed) noexcept {
  for (int row = 0; row < n_rows; ++row) {
    pack_int8_row(rows + row * head_dim, row, n_rows, head_dim, static_cast<std::byte*>(packed));
  }
}

// ---- scores

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

// scale * ((high - 128 sum) + (low - 128 sum) / 254); the low dots are in scores, which they share memory
// with.
void combine_dots(const Int8Queries& queries, int n_rows, const int32_t (*low)[kGroupRows],
                  Scratch& scratch) {
  for (int r = 0; r < n_rows; ++r) {
    const __m512i high_offset = _mm512_set1_epi32(128 * queries.high_sum[r]);
    const __m512i low_offset = _mm512_set1_epi32(128 * queries.low_sum[r]);
    for (int c = 0; c < kGroupRows; c += kChunk) {
      const __m512 high_dot =
          _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(scratch.high[r] + c), high_offset));
      const __m512 low_dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_load_si512(low[r] + c), low_offset));
      const __m512 sum = _mm512_fmadd_ps(low_dot, _mm512_set1_ps(1.0f / 254.0f), high_dot);
      _mm512_store_ps(scratch.scores[r] + c, _mm512_mul_ps(sum, _mm512_set1_ps(queries.scale[r])));
    }
  }
}

// ---- softmax

// 2^x, relative error 3e-6 (a weight is rounded to bf16 anyway), exactly 1 at 0 and 0 at -infinity.
inline __m512 exp2_ps(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);  // x - floor(x)
  __m512 p = _mm512_set1_ps(1.342668429e-02f);
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.224247419e-02f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(2.412802048e-01f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(6.930448449e-01f));
  p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(p, x);  // p * 2^floor(x)
}

void scale_state(const CacheGroup& group, const QueryBlock& block, int row, float max) {
  const float factor_of_old = _mm512_cvtss_f32(exp2_ps(_mm512_set1_ps(block.max[row] - max)));
  const __m512 factor = _mm512_set1_ps(factor_of_old);
  float* lanes = block.lane_sum + row * kLanes;
  _mm512_storeu_ps(lanes, _mm512_mul_ps(_mm512_loadu_ps(lanes), factor));
  float* acc = block.acc + row * group.head_dim;
  for (int c = 0; c < group.head_dim; c += 16)
    _mm512_storeu_ps(acc + c, _mm512_mul_ps(_mm512_loadu_ps(acc + c), factor));
}

inline __m512 adjusted(const CacheGroup& group, __m512 score, int slot) {
  if (group.k_factor != nullptr) score = _mm512_mul_ps(score, _mm512_load_ps(group.k_factor + slot));
  if (group.softcap > 0) {  // softcap * tanh
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 part = _mm512_div_ps(_mm512_set1_ps(2.0f), _mm512_add_ps(one, exp2_ps(score)));
    score = _mm512_mul_ps(_mm512_set1_ps(group.softcap), _mm512_sub_ps(one, part));
  }
  if (group.bias != nullptr) score = _mm512_add_ps(score, _mm512_load_ps(group.bias + slot));
  return score;
}

inline __m512i to_bf16(__m512 upper, __m512 lower) { return (__m512i)_mm512_cvtne2ps_pbh(upper, lower); }

// Scores of one row -> weights in bf16, running maximum and sum. plain: all visible, nothing to adjust.
template <bool plain>
void weigh_row(const CacheGroup& group, const QueryBlock& block, int row, Scratch& scratch) {
  __m512 s[kChunks];
  const uint64_t visible = block.visible == nullptr ? ~uint64_t{0} : block.visible[row];
#pragma GCC unroll 4
  for (int c = 0; c < kChunks; ++c) {
    s[c] = _mm512_load_ps(scratch.scores[row] + c * kChunk);
    if constexpr (!plain) {
      s[c] = adjusted(group, s[c], c * kChunk);
      const __mmask16 seen = static_cast<__mmask16>(visible >> (c * kChunk));
      s[c] = _mm512_mask_mov_ps(_mm512_set1_ps(-std::numeric_limits<float>::infinity()), seen, s[c]);
    }
  }
  const __m512 largest = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
  if (_mm512_cmp_ps_mask(largest, _mm512_set1_ps(block.max[row] + kRaiseAbove), _CMP_GT_OQ) != 0)
      [[unlikely]] {
    const float max = _mm512_reduce_max_ps(largest);
    if (block.max[row] != kNoScore) scale_state(group, block, row, max);
    block.max[row] = max;
  }
  const __m512 max = _mm512_set1_ps(block.max[row]);
#pragma GCC unroll 4
  for (int c = 0; c < kChunks; ++c) s[c] = exp2_ps(_mm512_sub_ps(s[c], max));
  float* lanes = block.lane_sum + row * kLanes;
  const __m512 sum = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]));
  _mm512_storeu_ps(lanes, _mm512_add_ps(_mm512_loadu_ps(lanes), sum));
  if constexpr (!plain) {
    if (group.v_factor != nullptr) {
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c)
        s[c] = _mm512_mul_ps(s[c], _mm512_load_ps(group.v_factor + c * kChunk));
    }
  }
  _mm512_store_si512(scratch.weights[row], to_bf16(s[1], s[0]));
  _mm512_store_si512(scratch.weights[row] + 32, to_bf16(s[3], s[2]));
}

void weigh(const CacheGroup& group, const QueryBlock& block, Scratch& scratch) {
  const bool plain =
      block.visible == nullptr && group.k_factor == nullptr && group.bias == nullptr && !(group.softcap > 0);
  for (int row = 0; row < block.n_rows; ++row) {
    if (plain)
      weigh_row<true>(group, block, row, scratch);
    else
      weigh_row<false>(group, block, row, scratch);
  }
}

// ---- weighted sum of V

struct ValuesBf16 {
  static constexpr int kPairs = 8;  // of rows in a page
  static __m512i load(const std::byte* values, int head_dim, int pair, int channel) {
    return _mm512_load_si512(values + (pair * head_dim + channel) * 4);
  }
  static void prefetch(const std::byte* values, int head_dim, int pair, int channel) {
    _mm_prefetch(values + (pair * head_dim + channel) * 4, _MM_HINT_T1);
  }
};

struct ValuesInt8 {
  static constexpr int kPairs = 16;
  // Codes have 7 bits and a sign: the upper half of their float is exact.
  static __m512i load(const std::byte* values, int head_dim, int pair, int channel) {
    const std::byte* at = values + 2 * pair * head_dim + channel;
    const __m512 even =
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(at))));
    const __m512 odd = _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(at + head_dim))));
    const __m512i low = _mm512_srli_epi32(_mm512_castps_si512(even), 16);
    return _mm512_mask_blend_epi16(0xaaaaaaaaU, low, _mm512_castps_si512(odd));
  }
  static void prefetch(const std::byte* values, int head_dim, int pair,
                       int channel) {  // a pair of rows has half the bytes
    if (channel % 32 == 0) _mm_prefetch(values + 2 * pair * head_dim + 2 * channel, _MM_HINT_T1);
  }
};

template <class Values, int R, int C>
void add_values(const CacheGroup& group, const QueryBlock& block, const Scratch& scratch, int channel) {
  const int head_dim = group.head_dim;
  __m512 acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_loadu_ps(block.acc + r * head_dim + channel + c * kChunk);
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = group.pages[entry] + kv::value_offset_bytes(head_dim);
    const std::byte* next = group.next[entry] + kv::value_offset_bytes(head_dim);
    const uint16_t* weights = scratch.weights[0] + entry * 2 * Values::kPairs;
    for (int pair = 0; pair < Values::kPairs; ++pair, weights += 2) {
      __m512i v[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        v[c] = Values::load(values, head_dim, pair, channel + c * kChunk);
        Values::prefetch(next, head_dim, pair, channel + c * kChunk);
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        int both;
        std::memcpy(&both, weights + r * kGroupRows, sizeof(both));
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

// ---- one function for each tile, found by table

using ScoresFn = void (*)(const CacheGroup&, const uint32_t*, float (*)[kGroupRows]);
using DotsFn = void (*)(const CacheGroup&, const int32_t*, int32_t (*)[kGroupRows]);
using ValuesFn = void (*)(const CacheGroup&, const QueryBlock&, const Scratch&, int channel);

#define FC_TILES_OF_ROW(f, r) \
  { f<r, 1>, f<r, 2>, f<r, 3>, f<r, 4> }
#define FC_TILES(f)                                                                             \
  {                                                                                             \
    FC_TILES_OF_ROW(f, 1), FC_TILES_OF_ROW(f, 2), FC_TILES_OF_ROW(f, 3), FC_TILES_OF_ROW(f, 4), \
        FC_TILES_OF_ROW(f, 5), FC_TILES_OF_ROW(f, 6)                                            \
  }

template <int R, int C>
constexpr ValuesFn add_bf16 = add_values<ValuesBf16, R, C>;
template <int R, int C>
constexpr ValuesFn add_int8 = add_values<ValuesInt8, R, C>;

constexpr ScoresFn kScores[kBlockRows][4] = FC_TILES(scores_bf16);
constexpr DotsFn kDots[kBlockRows][4] = FC_TILES(dots_int8);
constexpr ValuesFn kAddBf16[kBlockRows][4] = FC_TILES(add_bf16);
constexpr ValuesFn kAddInt8[kBlockRows][4] = FC_TILES(add_int8);

void add_all_values(const ValuesFn (*table)[4], const CacheGroup& group, const QueryBlock& block,
                    const Scratch& scratch) {
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int chunks = std::min(4, (group.head_dim - channel) / kChunk);
    table[block.n_rows - 1][chunks - 1](group, block, scratch, channel);
  }
}

void step_bf16(const CacheGroup& group, const QueryBlock& block) noexcept {
  Scratch scratch;
  kScores[block.n_rows - 1][block.n_entries - 1](group, static_cast<const uint32_t*>(block.q),
                                                 scratch.scores);
  weigh(group, block, scratch);
  add_all_values(kAddBf16, group, block, scratch);
}

void step_int8(const CacheGroup& group, const QueryBlock& block) noexcept {
  Scratch scratch;
  alignas(64) int32_t low[kBlockRows][kGroupRows];
  const std::byte* packed = static_cast<const std::byte*>(block.q);
  const int32_t* codes = reinterpret_cast<const int32_t*>(packed + kInt8Codes);
  const DotsFn dots = kDots[block.n_rows - 1][2 * block.n_entries - 1];
  dots(group, codes, scratch.high);
  dots(group, codes + group.head_dim / 4 * block.n_rows, low);
  combine_dots(*reinterpret_cast<const Int8Queries*>(packed), block.n_rows, low, scratch);
  weigh(group, block, scratch);
  add_all_values(kAddInt8, group, block, scratch);
}

}  // namespace
}  // namespace fastcache::attention
FC_TARGET_END

namespace fastcache::attention {
constinit const AttentionKernel kAttentionCpuAvx512{
    .name = "cpu_avx512",
    .isa = Isa::avx512,
    .pack = {pack_f32_avx2, pack_bf16, pack_int8},
    .step = {step_f32_avx2, step_bf16, step_int8},
    .fold = fold_avx2,
};
}  // namespace fastcache::attention
#endif
