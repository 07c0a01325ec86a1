// SPDX-License-Identifier: Apache-2.0
// Quantised pages by VDPBF16PS. Codes less their centre are whole numbers that bf16 holds exactly, so they
// are widened in registers, a pair of channels (K) or of rows (V) at a time: by a table of 32 entries, in
// which the bits above a code do not matter. The scales of K's channels go into q, page by page, those of V's
// rows into the weights; what the zeros add is one number for a query row.
#include <algorithm>
#include <bit>
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

struct alignas(64) PairTable {
  uint16_t bf16[32] = {};
  constexpr explicit PairTable(int bits) {
    for (int i = 0; i < 32; ++i) {
      const float value = static_cast<float>(i % (1 << bits) - (1 << (bits - 1)));
      bf16[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    }
  }
};
constexpr PairTable kTables[2] = {PairTable(4), PairTable(2)};

// Of a block, scaled for one page. Never initialised as a whole.
struct alignas(64) ScaledQueries {
  uint32_t words[kMaxHeadDim / 2 * kBlockRows];  // [head_dim/2, n_rows] pairs of channels
  float offset[kBlockRows];                      // what K's zeros add to every score
};

}  // namespace
}  // namespace fastcache::attention::avx512

FC_TARGET_BEGIN(FC_AVX512_TARGET)
namespace fastcache::attention::avx512 {
namespace {

template <KvType type>
inline __m512i pair_table() {
  return _mm512_load_si512(kTables[type == KvType::q2 ? 1 : 0].bf16);  // of no use to q8
}

// The pair-th codes of the lower and upper halves, less their centre.
template <KvType type>
inline __m512i pair_of(__m512i words, int pair, __m512i table) {
  const __m512i codes = _mm512_srl_epi32(words, _mm_cvtsi32_si128(pair * kv::element_bits(type)));
  if constexpr (type != KvType::q8) return _mm512_permutexvar_epi16(codes, table);
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
      offset[row] = _mm512_fmadd_ps(x, zero, offset[row]);
      alignas(32) uint32_t pairs[8];
      _mm256_store_si256(reinterpret_cast<__m256i*>(pairs), (__m256i)_mm512_cvtneps_pbh(x));
      for (int i = 0; i < 8; ++i) scaled.words[(c / 2 + i) * block.n_rows + row] = pairs[i];
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
    const __m512i table = pair_table<type>();
    __m512 acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_ps();
    }
    const uint32_t* q = queries.words;
    const std::byte* words = group.pages[0] + sizeof(uint32_t) * group.first_row;
    const int n_words = group.head_dim / (2 * kPairs);
    for (int w = 0; w < n_words; ++w, words += sizeof(uint32_t) * layout.rows) {
      for (int pair = 0; pair < kPairs; ++pair, q += R) {
        __m512i k[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c)  // the last vector may reach behind the page's K: into V, never past it
          k[c] = pair_of<type>(_mm512_loadu_si512(words + sizeof(uint32_t) * kChunk * c), pair, table);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const __m512i x = _mm512_set1_epi32(static_cast<int>(q[r]));
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
    const __m512i table = pair_table<type>();
    __m512 acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c)
        acc[r][c] = _mm512_loadu_ps(block.acc + r * group.head_dim + channel + c * kChunk);
    }
    const std::byte* words =
        group.pages[0] + layout.values_at() +
        static_cast<size_t>(group.first_row / kUnit * group.head_dim + channel) * kWordBytes;
    const int n_units = (block.n_slots + kUnit - 1) / kUnit;
    for (int unit = 0; unit < n_units; ++unit, words += static_cast<size_t>(group.head_dim) * kWordBytes) {
      __m512i word[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) word[c] = load_value_words<type>(words + kChunk * kWordBytes * c);
#pragma GCC unroll 4
      for (int pair = 0; pair < kUnit / 2; ++pair) {
        __m512i v[C];
#pragma GCC unroll 4
        for (int c = 0; c < C; ++c) v[c] = pair_of<type>(word[c], pair, table);
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

using ScoresFn = void (*)(const CacheGroup&, const QuantizedLayout&, const ScaledQueries&,
                          float (*)[kGroupRows]);
using ValuesFn = void (*)(const CacheGroup&, const QueryBlock&, const uint16_t (*)[kGroupRows], const float*,
                          int channel);

template <KvType type>
constexpr ScoresFn kScores[kBlockRows][4] = FC_TILES(Scores<type>::template tile);
template <KvType type>
constexpr ValuesFn kValues[kBlockRows][4] = FC_TILES(Values<type>::template tile);

// One line for each that is read, ahead of the loops.
void prefetch_next(const CacheGroup& group) {
  if (group.next[0] == group.pages[0] || group.first_row > 0) return;
  for (int line = 0; line < group.head_dim; ++line) _mm_prefetch(group.next[0] + line * 64, _MM_HINT_T1);
}

}  // namespace

template <KvType type>
void find_scores_quantized(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  prefetch_next(group);
  const QuantizedLayout layout = kv::quantized_layout(type, group.head_dim);
  ScaledQueries queries;
  scale_queries(group, layout, block, queries);
  const int n_chunks = (block.n_slots + kChunk - 1) / kChunk;
  kScores<type>[block.n_rows - 1][n_chunks - 1](group, layout, queries, scores);
}

template <KvType type>
void add_values_quantized(const CacheGroup& group, const QueryBlock& block,
                          const uint16_t (*weights)[kGroupRows], const float* offsets) {
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int n_chunks = std::min(4, (group.head_dim - channel) / kChunk);
    kValues<type>[block.n_rows - 1][n_chunks - 1](group, block, weights, offsets, channel);
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
