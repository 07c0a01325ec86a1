// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI and BF16: softmax of the scores in f32, weights rounded to bf16, or to 16 bits below the
// row's largest for int8 pages. f32 pages go to the AVX2 kernel: nothing here would be faster with the same
// exactness.
#include <limits>
#include <type_traits>

#include "attention/attention_avx512.h"
#include "attention/attention_kernel.h"
#include "base/simd.h"

#if defined(__x86_64__)
#if !defined(__clang__)  // false alarms inside the intrinsics of gcc 12
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::attention {
namespace {

constexpr int kChunk = 16;
constexpr int kChunks = kGroupRows / kChunk;

struct alignas(64) Bf16Scratch {
  float scores[kBlockRows][kGroupRows];
  uint16_t weights[kBlockRows][kGroupRows];  // bf16
};

struct alignas(64) Int8Scratch {
  float scores[kBlockRows][kGroupRows];
  avx512::Int8Weights weights;
};

struct alignas(64) QuantizedScratch : Bf16Scratch {
  float offsets[kBlockRows];  // weights * V's offsets
};

template <class Scratch>
constexpr bool kHasOffsets = std::is_same_v<Scratch, QuantizedScratch>;

template <class Scratch>  // pages of this type always have factors: the rows' scales
constexpr bool kScaled = std::is_same_v<Scratch, Int8Scratch>;

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

[[gnu::always_inline]] inline void store_weights(const __m512* s, int row, Bf16Scratch& scratch) {
  _mm512_store_si512(scratch.weights[row], to_bf16(s[1], s[0]));
  _mm512_store_si512(scratch.weights[row] + 32, to_bf16(s[3], s[2]));
}

// Two bytes for each weight; the largest of the row has all sixteen bits. Packing goes by lanes of 128 bits
// and leaves fours of weights whole: four 4 * chunk + lane becomes word 4 * lane + chunk.
[[gnu::always_inline]] inline void store_weights(const __m512* s, int row, Int8Scratch& scratch) {
  const __m512 pairs = _mm512_max_ps(_mm512_max_ps(s[0], s[1]), _mm512_max_ps(s[2], s[3]));
  const __m512 smallest = _mm512_set1_ps(0x1p-100f);  // so that neither power of two below overflows
  const __m512 largest = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(pairs, smallest)));
  const __m512i exponent = _mm512_and_si512(_mm512_castps_si512(largest), _mm512_set1_epi32(0xff << 23));
  const __m512i scale = _mm512_sub_epi32(exponent, _mm512_set1_epi32(15 << 23));
  const __m512 inverse = _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(254 << 23), scale));
  scratch.weights.scale[row] = _mm512_cvtss_f32(_mm512_castsi512_ps(scale));
  __m512i code[kChunks];
#pragma GCC unroll 4
  for (int c = 0; c < kChunks; ++c) code[c] = _mm512_cvtps_epi32(_mm512_mul_ps(s[c], inverse));
  const __m512i a = _mm512_packus_epi32(code[0], code[1]);  // what rounds to 2^16 becomes 2^16 - 1
  const __m512i b = _mm512_packus_epi32(code[2], code[3]);
  const __m512i parts = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14,  //
                                                             1, 3, 5, 7, 9, 11, 13, 15));
  const __m512i a_parts = _mm512_shuffle_epi8(a, parts), b_parts = _mm512_shuffle_epi8(b, parts);
  const __m512i low_codes = _mm512_unpacklo_epi64(a_parts, b_parts);
  const __m512i high_codes = _mm512_unpackhi_epi64(a_parts, b_parts);
  const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_store_si512(scratch.weights.code[row][0], _mm512_permutexvar_epi32(in_order, high_codes));
  _mm512_store_si512(scratch.weights.code[row][1], _mm512_permutexvar_epi32(in_order, low_codes));
}

// Scores of one row -> weights, running maximum and sum. plain: all visible, nothing to adjust but for
// scales.
template <bool plain, class Scratch>
void weigh_row(const CacheGroup& group, const QueryBlock& block, int row, Scratch& scratch) {
  __m512 s[kChunks];
  const uint64_t visible = block.visible == nullptr ? ~uint64_t{0} : block.visible[row];
#pragma GCC unroll 4
  for (int c = 0; c < kChunks; ++c) {
    s[c] = _mm512_load_ps(scratch.scores[row] + c * kChunk);
    if constexpr (plain && kScaled<Scratch>) {
      s[c] = _mm512_mul_ps(s[c], _mm512_load_ps(group.k_factor + c * kChunk));
    } else if constexpr (!plain) {
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
  if constexpr (kHasOffsets<Scratch>) {
    __m512 offset = _mm512_mul_ps(s[0], _mm512_load_ps(group.v_offset));
#pragma GCC unroll 3
    for (int c = 1; c < kChunks; ++c)
      offset = _mm512_fmadd_ps(s[c], _mm512_load_ps(group.v_offset + c * kChunk), offset);
    scratch.offsets[row] = _mm512_reduce_add_ps(offset);
  }
  if constexpr (!plain || kScaled<Scratch>) {
    if (kScaled<Scratch> || group.v_factor != nullptr) {
#pragma GCC unroll 4
      for (int c = 0; c < kChunks; ++c)
        s[c] = _mm512_mul_ps(s[c], _mm512_load_ps(group.v_factor + c * kChunk));
    }
  }
  store_weights(s, row, scratch);
}

template <class Scratch>
void weigh(const CacheGroup& group, const QueryBlock& block, Scratch& scratch) {
  const bool plain = block.visible == nullptr && (kScaled<Scratch> || group.k_factor == nullptr) &&
                     group.bias == nullptr && !(group.softcap > 0);
  for (int row = 0; row < block.n_rows; ++row) {
    if (plain && !kHasOffsets<Scratch>)
      weigh_row<true>(group, block, row, scratch);
    else
      weigh_row<false>(group, block, row, scratch);
  }
}

void step_bf16(const CacheGroup& group, const QueryBlock& block) noexcept {
  Bf16Scratch scratch;
  avx512::find_scores_bf16(group, block, scratch.scores);
  weigh(group, block, scratch);
  avx512::add_values_bf16(group, block, scratch.weights);
}

void step_int8(const CacheGroup& group, const QueryBlock& block) noexcept {
  Int8Scratch scratch;
  avx512::find_scores_int8(group, block, scratch.scores);
  weigh(group, block, scratch);
  avx512::add_values_int8(group, block, scratch.weights);
}

template <kv::KvType type>
void step_of_quantized(const CacheGroup& group, const QueryBlock& block) noexcept {
  QuantizedScratch scratch;
  avx512::find_scores_quantized<type>(group, block, scratch.scores);
  weigh(group, block, scratch);
  avx512::add_values_quantized<type>(group, block, scratch.weights, scratch.offsets);
}

}  // namespace
}  // namespace fastcache::attention
FC_TARGET_END

namespace fastcache::attention {
constinit const AttentionKernel kAttentionCpuAvx512{
    .name = "cpu_avx512",
    .isa = Isa::avx512,
    .pack = {pack_f32_avx2, avx512::pack_bf16, avx512::pack_int8, pack_plain, pack_plain, pack_plain},
    .step = {step_f32_avx2, step_bf16, step_int8, step_of_quantized<kv::KvType::q8>,
             step_of_quantized<kv::KvType::q4>, step_of_quantized<kv::KvType::q2>},
    .fold = fold_avx2,
};
}  // namespace fastcache::attention
#endif
