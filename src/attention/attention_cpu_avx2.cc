// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA: everything in f32, bf16 and int8 pages widened in registers. The AVX-512 kernel uses the f32
// part too.
//
// Tiles of R query rows x 16 cache rows (scores) or x 16 channels (weighted sum) stay in registers: 12
// accumulators, two vectors of K or V, one broadcast.
#include <algorithm>
#include <limits>

#include "attention/attention_kernel.h"
#include "base/simd.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::attention {
namespace {

using kv::KvType;

constexpr int kChunk = 16;  // two vectors
constexpr int kVector = 8;

struct alignas(64) Scratch {
  float scores[kBlockRows][kGroupRows];  // then the weights
};

struct Pair {
  __m256 a, b;
};

inline __m256 low_half(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
inline __m256 high_half(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
}
inline __m256i load_bytes(const std::byte* at) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
}

// ---- scores. A word is what one load brings: 1 channel of f32, 2 of bf16, 4 of int8, for 16 rows.

template <KvType type>
constexpr int kWordChannels = type == KvType::f32    ? 1
                              : type == KvType::bf16 ? 2
                                                     : 4;

struct Words {
  __m256i a, b;
};

// a, b: where the first and second eight rows of the chunk are.
template <KvType type>
inline Words load_k(const std::byte* a, const std::byte* b, int word) {
  constexpr int stride = type == KvType::f32 ? 32 : type == KvType::bf16 ? 64 : 128;
  return {load_bytes(a + word * stride), load_bytes(b + word * stride)};
}

template <KvType type>
inline __m256 channel_of(__m256i word, int channel) {
  if constexpr (type == KvType::f32) return _mm256_castsi256_ps(word);
  if constexpr (type == KvType::bf16) return channel == 0 ? low_half(word) : high_half(word);
  const __m256i code = _mm256_and_si256(_mm256_srli_epi32(word, 8 * channel), _mm256_set1_epi32(255));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(128)));
}

template <KvType type, int R>
void score_chunk(const std::byte* a, const std::byte* b, int n_words, const float* q,
                 float (*scores)[kGroupRows]) {
  Pair acc[R];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) acc[r] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  for (int w = 0; w < n_words; ++w) {
    const Words words = load_k<type>(a, b, w);
#pragma GCC unroll 4
    for (int channel = 0; channel < kWordChannels<type>; ++channel, q += R) {
      const __m256 ka = channel_of<type>(words.a, channel);
      const __m256 kb = channel_of<type>(words.b, channel);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        const __m256 x = _mm256_broadcast_ss(q + r);
        acc[r].a = _mm256_fmadd_ps(x, ka, acc[r].a);
        acc[r].b = _mm256_fmadd_ps(x, kb, acc[r].b);
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    _mm256_store_ps(scores[r], acc[r].a);
    _mm256_store_ps(scores[r] + kVector, acc[r].b);
  }
}

template <KvType type, int R>
void find_scores(const CacheGroup& group, const QueryBlock& block, Scratch& scratch) {
  constexpr int page_rows = kv::rows_per_page(type);
  const int n_slots = block.n_entries * page_rows;
  for (int slot = 0; slot < n_slots; slot += kChunk) {
    const std::byte* a = group.pages[slot / page_rows] + slot % page_rows * 4;
    const std::byte* b = a + kVector * 4;
    if (type == KvType::f32) b = group.pages[std::min(slot / page_rows + 1, block.n_entries - 1)];
    score_chunk<type, R>(a, b, group.head_dim / kWordChannels<type>, static_cast<const float*>(block.q),
                         reinterpret_cast<float(*)[kGroupRows]>(scratch.scores[0] + slot));
  }
}

// ---- softmax

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

// ---- weighted sum of V, two rows at a time

template <KvType type>
inline Pair load_v(const std::byte* values, int head_dim, int row, int channel) {
  if constexpr (type == KvType::f32) {
    const std::byte* at = values + (row * head_dim + channel) * 4;
    return {_mm256_castsi256_ps(load_bytes(at)), _mm256_castsi256_ps(load_bytes(at + 32))};
  } else if constexpr (type == KvType::bf16) {
    const std::byte* at = values + (row / 2 * head_dim + channel) * 4;
    if (row % 2 == 0) return {low_half(load_bytes(at)), low_half(load_bytes(at + 32))};
    return {high_half(load_bytes(at)), high_half(load_bytes(at + 32))};
  } else {
    const __m128i codes = _mm_load_si128(reinterpret_cast<const __m128i*>(values + row * head_dim + channel));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
  }
}

template <KvType type, int R>
void add_values(const CacheGroup& group, const QueryBlock& block, const Scratch& scratch, int channel) {
  constexpr int page_rows = kv::rows_per_page(type);
  Pair acc[R];
  float* const out = block.acc + channel;
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    acc[r] = {_mm256_loadu_ps(out + r * group.head_dim), _mm256_loadu_ps(out + r * group.head_dim + kVector)};
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = group.pages[entry] + kv::value_offset_bytes(group.head_dim);
    const float* weights = scratch.scores[0] + entry * page_rows;
    for (int row = 0; row < page_rows; row += 2) {
#pragma GCC unroll 2
      for (int odd = 0; odd < 2; ++odd) {
        const Pair v = load_v<type>(values, group.head_dim, row + odd, channel);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const __m256 w = _mm256_broadcast_ss(weights + row + odd + r * kGroupRows);
          acc[r].a = _mm256_fmadd_ps(w, v.a, acc[r].a);
          acc[r].b = _mm256_fmadd_ps(w, v.b, acc[r].b);
        }
      }
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    _mm256_storeu_ps(out + r * group.head_dim, acc[r].a);
    _mm256_storeu_ps(out + r * group.head_dim + kVector, acc[r].b);
  }
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

template <KvType type, int R>
void step_rows(const CacheGroup& group, const QueryBlock& block) {
  Scratch scratch;
  find_scores<type, R>(group, block, scratch);
  prefetch_next(group);
  for (int row = 0; row < R; ++row) weigh_row(group, block, row, scratch.scores[row]);
  for (int channel = 0; channel < group.head_dim; channel += kChunk)
    add_values<type, R>(group, block, scratch, channel);
}

template <KvType type>
void step(const CacheGroup& group, const QueryBlock& block) noexcept {
  static_assert(kBlockRows == 6);
  switch (block.n_rows) {
    case 1:
      return step_rows<type, 1>(group, block);
    case 2:
      return step_rows<type, 2>(group, block);
    case 3:
      return step_rows<type, 3>(group, block);
    case 4:
      return step_rows<type, 4>(group, block);
    case 5:
      return step_rows<type, 5>(group, block);
    default:
      return step_rows<type, 6>(group, block);
  }
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
    .pack = {pack_f32_avx2, pack_f32_avx2, pack_f32_avx2},
    .step = {step_f32_avx2, step_bf16, step_int8},
    .fold = fold_avx2,
};
}  // namespace fastcache::attention
#endif
