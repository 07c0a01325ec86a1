// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA: everything in f32. The AVX-512 kernel uses it for f32 pages too.
#include <limits>

#include "attention/attention_avx2.h"
#include "attention/attention_kernel.h"
#include "base/simd.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::attention {
namespace {

using kv::KvType;

constexpr int kVector = 8;

// 2^x, relative error 1e-7, exactly 1 at 0 and 0 below 2^-126.
inline __m256 exp2_ps(__m256 x) {
  const __m256 floor = _mm256_floor_ps(x);
  const __m256 f = _mm256_sub_ps(x, floor);
  __m256 p = _mm256_set1_ps(1.867130072e-03f);
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(9.017030316e-03f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(5.579991311e-02f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(2.401644502e-01f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(6.931513118e-01f));
  p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(1.0f));
  const __m256 in_range = _mm256_cmp_ps(x, _mm256_set1_ps(-126.0f), _CMP_GE_OQ);
  const __m256i exponent = _mm256_slli_epi32(_mm256_cvtps_epi32(_mm256_and_ps(floor, in_range)), 23);
  const __m256 scaled = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_or_ps(_mm256_and_ps(scaled, in_range), _mm256_and_ps(x, nan));
}

inline float largest_of(__m256 x) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}

void scale_state(const CacheGroup& group, const QueryBlock& block, int row, float max) {
  const __m256 factor = exp2_ps(_mm256_set1_ps(block.max[row] - max));
  float* lanes = block.lane_sum + row * kLanes;
  for (int i = 0; i < kLanes; i += kVector)
    _mm256_storeu_ps(lanes + i, _mm256_mul_ps(_mm256_loadu_ps(lanes + i), factor));
  float* acc = block.acc + row * group.head_dim;
  for (int c = 0; c < group.head_dim; c += kVector)
    _mm256_storeu_ps(acc + c, _mm256_mul_ps(_mm256_loadu_ps(acc + c), factor));
}

inline __m256 adjusted(const CacheGroup& group, __m256 score, int slot) {
  if (group.k_factor != nullptr) score = _mm256_mul_ps(score, _mm256_load_ps(group.k_factor + slot));
  if (group.softcap > 0) {  // softcap * tanh; 2^100 is infinite enough and within exp2_ps
    const __m256 one = _mm256_set1_ps(1.0f);
    const __m256 power = exp2_ps(_mm256_min_ps(score, _mm256_set1_ps(100.0f)));
    const __m256 part = _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(one, power));
    score = _mm256_mul_ps(_mm256_set1_ps(group.softcap), _mm256_sub_ps(one, part));
  }
  if (group.bias != nullptr) score = _mm256_add_ps(score, _mm256_load_ps(group.bias + slot));
  return score;
}

inline __m256 lanes_of(uint64_t bits) {  // the low eight
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_castsi256_ps(
      _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits & 255)), each), each));
}

// Scores of one row -> weights, running maximum and sum.
void weigh_row(const CacheGroup& group, const QueryBlock& block, int row, float* scores) {
  const uint64_t visible = block.visible == nullptr ? ~uint64_t{0} : block.visible[row];
  const __m256 hidden = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  __m256 largest = hidden;
  for (int slot = 0; slot < kGroupRows; slot += kVector) {
    const __m256 score = adjusted(group, _mm256_load_ps(scores + slot), slot);
    const __m256 seen = _mm256_blendv_ps(hidden, score, lanes_of(visible >> slot));
    _mm256_store_ps(scores + slot, seen);
    largest = _mm256_max_ps(largest, seen);
  }
  const float max = largest_of(largest);
  if (max > block.max[row] + kRaiseAbove) {
    if (block.max[row] != kNoScore) scale_state(group, block, row, max);
    block.max[row] = max;
  }
  const __m256 base = _mm256_set1_ps(block.max[row]);
  __m256 sum = _mm256_loadu_ps(block.lane_sum + row * kLanes);
  for (int slot = 0; slot < kGroupRows; slot += kVector) {
    __m256 weight = exp2_ps(_mm256_sub_ps(_mm256_load_ps(scores + slot), base));
    sum = _mm256_add_ps(sum, weight);
    if (group.v_factor != nullptr) weight = _mm256_mul_ps(weight, _mm256_load_ps(group.v_factor + slot));
    _mm256_store_ps(scores + slot, weight);
  }
  _mm256_storeu_ps(block.lane_sum + row * kLanes, sum);
}

// The widening loads leave no room for software prefetch in the loops: one line for each that is read, ahead
// of them.
void prefetch_next(const CacheGroup& group) {
  for (int entry = 0; entry < group.n_entries; ++entry) {
    if (group.next[entry] == group.pages[entry]) continue;
    for (int line = 0; line < group.head_dim; ++line)
      _mm_prefetch(group.next[entry] + line * 64, _MM_HINT_T1);
  }
}

template <KvType type>
void step(const CacheGroup& group, const QueryBlock& block) noexcept {
  alignas(64) float scores[kBlockRows][kGroupRows];  // then the weights
  avx2::find_scores<type>(group, block, scores);
  prefetch_next(group);
  for (int row = 0; row < block.n_rows; ++row) weigh_row(group, block, row, scores[row]);
  avx2::add_values<type>(group, block, scores);
}

}  // namespace

// [head_dim, n_rows]: the scores read it in order.
void pack_f32_avx2(const float* rows, int n_rows, int head_dim, void* packed) noexcept {
  float* to = static_cast<float*>(packed);
  for (int c = 0; c < head_dim; ++c) {
    for (int row = 0; row < n_rows; ++row) *to++ = rows[row * head_dim + c];
  }
}

void step_f32_avx2(const CacheGroup& group, const QueryBlock& block) noexcept {
  step<KvType::f32>(group, block);
}

void fold_avx2(float* total, float total_factor, const float* part, float part_factor, int n) noexcept {
  const __m256 a = _mm256_set1_ps(total_factor), b = _mm256_set1_ps(part_factor);
  for (int i = 0; i < n; i += kVector) {
    const __m256 added = _mm256_mul_ps(_mm256_loadu_ps(part + i), b);
    _mm256_storeu_ps(total + i, _mm256_fmadd_ps(_mm256_loadu_ps(total + i), a, added));
  }
}

namespace {
void step_bf16(const CacheGroup& group, const QueryBlock& block) noexcept {
  step<KvType::bf16>(group, block);
}
void step_int8(const CacheGroup& group, const QueryBlock& block) noexcept {
  step<KvType::int8>(group, block);
}
}  // namespace
}  // namespace fastcache::attention
FC_TARGET_END

namespace fastcache::attention {
constinit const AttentionKernel kAttentionCpuAvx2{
    .name = "cpu_avx2",
    .isa = Isa::avx2,
    .pack = {pack_f32_avx2, pack_f32_avx2, pack_f32_avx2, pack_plain, pack_plain, pack_plain},
    .step = {step_f32_avx2, step_bf16, step_int8, step_quantized<kv::KvType::q8>,
             step_quantized<kv::KvType::q4>, step_quantized<kv::KvType::q2>},
    .fold = fold_avx2,
};
}  // namespace fastcache::attention
#endif
