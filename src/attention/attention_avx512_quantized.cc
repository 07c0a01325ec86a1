// SPDX-License-Identifier: Apache-2.0
// Quantised pages by VDPBF16PS. Codes are whole numbers that bf16 holds exactly, so they are widened in
// registers, a pair of channels (K) or of rows (V) at a time. The scales of K's channels go into q, page by
// page, those of V's rows into the weights; what the zeros add is one number for a query row.
#include <algorithm>
#include <cstring>

#include "attention/attention_avx512.h"
#include "base/simd.h"
#include "kv/quantized_page.h"

#if defined(__x86_64__)
#if !defined(__clang__)  // false alarms inside the intrinsics of gcc 12
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
namespace fastcache::attention::avx512 {
namespace {

using kv::KvType;
using kv::QuantizedLayout;

constexpr int kChunk = 16;

// What is multiplied is code + kAdded. Codes of up to 7 bits become numbers by setting the bits of 128 around
// them; what that is too much of, the offsets take back, with q and weights as they were rounded.
template <KvType type>
constexpr float kAdded = type == KvType::q8 ? -128.0f : 128.0f;

// Of a block, scaled for one page. Never initialised as a whole.
struct alignas(64) ScaledQueries {
  static constexpr int kStride = kMaxHeadDim / 2 + 16;  // rows in different sets of the cache
  uint32_t words[kBlockRows][kStride];                  // pairs of channels
  float offset[kBlockRows];                             // what K's zeros add to every score
};

}  // namespace
}  // namespace fastcache::attention::avx512

FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::attention::avx512 {
namespace {

// The pair-th codes of the lower and upper halves, plus kAdded.
template <KvType type>
[[gnu::always_inline]] inline __m512i pair_of(__m512i words, int pair) {
  const __m512i codes = _mm512_srl_epi32(words, _mm_cvtsi32_si128(pair * kv::element_bits(type)));
  if constexpr (type != KvType::q8) {
    const __m512i mask = _mm512_set1_epi32(((1 << kv::element_bits(type)) - 1) * 0x10001);
    return _mm512_ternarylogic_epi32(codes, mask, _mm512_set1_epi32(0x43004300), 0xea);  // (a & b) | c
  }
  const __m512i byte = _mm512_set1_epi32(255), centre = _mm512_set1_epi32(128);
  const __m512i lower = _mm512_sub_epi32(_mm512_and_si512(codes, byte), centre);
  const __m512i upper = _mm512_sub_epi32(_mm512_and_si512(_mm512_srli_epi32(codes, 16), byte), centre);
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(lower)), 16),
                         _mm512_castps_si512(_mm512_cvtepi32_ps(upper)));
}

// Words of V, for 16 channels, with the halves of q2's words of 16 bits where those of 32 have theirs.
template <KvType type>
inline __m512i load_value_words(const std::byte* at) {
  if constexpr (type != KvType::q2) return _mm512_loadu_si512(at);
  const __m512i half = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  return _mm512_or_si512(half, _mm512_slli_epi32(half, 8));
}

inline __m512 widened(__m256i bf16) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16));
}

template <KvType type>
void scale_queries(const CacheGroup& group, const QuantizedLayout& layout, const QueryBlock& block,
                   ScaledQueries& scaled) {
  const std::byte* steps = group.pages[0] + layout.channel_steps_at();
  const float* q = static_cast<const float*>(block.q);
  __m512 offset[kBlockRows];
  for (int row = 0; row < block.n_rows; ++row) offset[row] = _mm512_setzero_ps();
  for (int c = 0; c < group.head_dim; c += kChunk) {
    const __m512i step = _mm512_loadu_si512(steps + sizeof(kv::QuantStep) * c);
    const __m512 scale = _mm512_castsi512_ps(_mm512_slli_epi32(step, 16));
    const __m512 zero = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(step, 16)),
                                        _mm512_set1_ps(1.0f / 16), _mm512_set1_ps(layout.centre()));
    for (int row = 0; row < block.n_rows; ++row) {
      const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(q + row * group.head_dim + c), scale);
      const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(x);
      const __m512 surplus = _mm512_set1_ps(layout.centre() + kAdded<type>);
      offset[row] = _mm512_fmadd_ps(x, zero, offset[row]);
      offset[row] = _mm512_fnmadd_ps(widened(rounded), surplus, offset[row]);
      _mm256_store_si256(reinterpret_cast<__m256i*>(scaled.words[row] + c / 2), rounded);
    }
  }
  for (int row = 0; row < block.n_rows; ++row) scaled.offset[row] = _mm512_reduce_add_ps(offset[row]);
}

template <KvType type>
struct Scores {
  template <int R, int C>
  static void tile(const CacheGroup& group, const QuantizedLayout& layout, const ScaledQueries& queries,
                   float (*scores)[kGroupRows]) {
    constexpr int kPairs = 16 / kv::element_bits(type);
    __m512 acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();
    }
    const uint32_t* q = queries.words[0];
    const std::byte* words = group.pages[0] + sizeof(uint32_t) * group.first_row;
    const std::byte* next = group.next[0] + sizeof(uint32_t) * group.first_row;
    const int n_words = group.head_dim / (2 * kPairs);
    const size_t word_bytes = sizeof(uint32_t) * layout.rows;
    for (int w = 0; w < n_words; ++w, words += word_bytes, next += word_bytes) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) _mm_prefetch(next + sizeof(uint32_t) * kChunk * c, _MM_HINT_T1);
#pragma GCC unroll 8
      for (int pair = 0; pair < kPairs; ++pair, ++q) {
        __m512i k[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c)  // the last vector may reach behind the page's K: into V, never past it
          k[c] = pair_of<type>(_mm512_loadu_si512(words + sizeof(uint32_t) * kChunk * c), pair);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const __m512i x = _mm512_set1_epi32(static_cast<int>(q[r * ScaledQueries::kStride]));
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], (__m512bh)k[c], (__m512bh)x);
        }
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512 offset = _mm512_set1_ps(queries.offset[r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) _mm512_store_ps(scores[r] + c * kChunk, _mm512_add_ps(acc[r][c], offset));
    }
  }
};

template <KvType type>
struct Values {
  template <int R, int C>
  static void tile(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows],
                   const float* offsets, int channel) {
    constexpr int kUnit = type == KvType::q8 ? 4 : 8;
    constexpr int kWordBytes = type == KvType::q2 ? 2 : 4;
    const QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
    __m512 acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        acc[r][c] = _mm512_loadu_ps(block.acc + r * group.head_dim + channel + c * kChunk);
    }
    const size_t at = layout.values_at() +
                      static_cast<size_t>(group.first_row / kUnit * group.head_dim + channel) * kWordBytes;
    const std::byte* words = group.pages[0] + at;
    const std::byte* next = group.next[0] + at;
    const int n_units = (block.n_slots + kUnit - 1) / kUnit;
    const size_t unit_bytes = static_cast<size_t>(group.head_dim) * kWordBytes;
    for (int unit = 0; unit < n_units; ++unit, words += unit_bytes, next += unit_bytes) {
      __m512i word[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        word[c] = load_value_words<type>(words + kChunk * kWordBytes * c);
        _mm_prefetch(next + kChunk * kWordBytes * c, _MM_HINT_T1);
      }
#pragma GCC unroll 4
      for (int pair = 0; pair < kUnit / 2; ++pair) {
        __m512i v[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) v[c] = pair_of<type>(word[c], pair);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          int both;
          std::memcpy(&both, weights[r] + unit * kUnit + 2 * pair, sizeof(both));
          const __m512i w = _mm512_set1_epi32(both);
#pragma GCC unroll 4
          for (int c = 0; c < C; ++c) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], (__m512bh)v[c], (__m512bh)w);
        }
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const __m512 offset = _mm512_set1_ps(offsets[r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        _mm512_storeu_ps(block.acc + r * group.head_dim + channel + c * kChunk,
                         _mm512_add_ps(acc[r][c], offset));
    }
  }
};

// As they were rounded to bf16.
inline float sum_of_weights(const uint16_t* weights) {
  __m512 sum = _mm512_setzero_ps();
  for (int slot = 0; slot < kGroupRows; slot += kChunk)
    sum = _mm512_add_ps(sum, widened(_mm256_load_si256(reinterpret_cast<const __m256i*>(weights + slot))));
  return _mm512_reduce_add_ps(sum);
}

using ScoresFn = void (*)(const CacheGroup&, const QuantizedLayout&, const ScaledQueries&,
                          float (*)[kGroupRows]);
using ValuesFn = void (*)(const CacheGroup&, const QueryBlock&, const uint16_t (*)[kGroupRows], const float*,
                          int channel);

template <KvType type>
constexpr ScoresFn kScores[kBlockRows][4] = FC_TILES(Scores<type>::template tile);
template <KvType type>
constexpr ValuesFn kValues[kBlockRows][4] = FC_TILES(Values<type>::template tile);

// The scales of the next page, which are read before anything else of it.
void prefetch_steps(const CacheGroup& group, const QuantizedLayout& layout) {
  for (size_t at = layout.channel_steps_at(); at < kv::page_payload_bytes(group.head_dim); at += 64)
    _mm_prefetch(group.next[0] + at, _MM_HINT_T1);
}

}  // namespace

template <KvType type>
void find_scores_quantized(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  const QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
  prefetch_steps(group, layout);
  ScaledQueries queries;
  scale_queries<type>(group, layout, block, queries);
  const int n_chunks = (block.n_slots + kChunk - 1) / kChunk;
  kScores<type>[block.n_rows - 1][n_chunks - 1](group, layout, queries, scores);
}

template <KvType type>
void add_values_quantized(const CacheGroup& group, const QueryBlock& block,
                          const uint16_t (*weights)[kGroupRows], const float* offsets) {
  const float surplus = kv::quantized_layout(type, group.head_dim).centre() + kAdded<type>;
  float whole_offsets[kBlockRows];
  for (int row = 0; row < block.n_rows; ++row)
    whole_offsets[row] = offsets[row] - surplus * sum_of_weights(weights[row]);
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int n_chunks = std::min(4, (group.head_dim - channel) / kChunk);
    kValues<type>[block.n_rows - 1][n_chunks - 1](group, block, weights, whole_offsets, channel);
  }
}

#define FC_FOR_TYPE(type)                                                                                \
  template void find_scores_quantized<type>(const CacheGroup&, const QueryBlock&, float(*)[kGroupRows]); \
  template void add_values_quantized<type>(const CacheGroup&, const QueryBlock&,                         \
                                           const uint16_t(*)[kGroupRows], const float*);
FC_FOR_TYPE(KvType::q8)
FC_FOR_TYPE(KvType::q4)
FC_FOR_TYPE(KvType::q2)
#undef FC_FOR_TYPE

}  // namespace fastcache::attention::avx512
FC_TARGET_END
#endif
