// SPDX-License-Identifier: Apache-2.0
// Scores: q x K in f32; bf16 and int8 are widened in registers. A tile of R query rows x 16 cache rows stays
// in registers: 12 accumulators, two vectors of K, one broadcast.
#include <algorithm>

#include "attention/attention_avx2.h"
#include "base/simd.h"

#if defined(__x86_64__)
FC_TARGET_BEGIN(FC_AVX2_TARGET)
namespace fastcache::attention::avx2 {
namespace {

using kv::KvType;

constexpr int kChunk = 16;  // two vectors
constexpr int kVector = 8;

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

// A word is what one load brings: 1 channel of f32, 2 of bf16, 4 of int8, for 16 rows.
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
void find_scores_of(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  constexpr int page_rows = kv::rows_per_page(type);
  const int n_slots = block.n_entries * page_rows;
  for (int slot = 0; slot < n_slots; slot += kChunk) {
    const std::byte* a = group.pages[slot / page_rows] + slot % page_rows * 4;
    const std::byte* b = a + kVector * 4;
    if (type == KvType::f32) b = group.pages[std::min(slot / page_rows + 1, block.n_entries - 1)];
    score_chunk<type, R>(a, b, group.head_dim / kWordChannels<type>, static_cast<const float*>(block.q),
                         reinterpret_cast<float(*)[kGroupRows]>(scores[0] + slot));
  }
}

}  // namespace

template <KvType type>
void find_scores(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]) {
  static_assert(kBlockRows == 6);
  switch (block.n_rows) {
    case 1:
      return find_scores_of<type, 1>(group, block, scores);
    case 2:
      return find_scores_of<type, 2>(group, block, scores);
    case 3:
      return find_scores_of<type, 3>(group, block, scores);
    case 4:
      return find_scores_of<type, 4>(group, block, scores);
    case 5:
      return find_scores_of<type, 5>(group, block, scores);
    default:
      return find_scores_of<type, 6>(group, block, scores);
  }
}

template void find_scores<KvType::f32>(const CacheGroup&, const QueryBlock&, float (*)[kGroupRows]);
template void find_scores<KvType::bf16>(const CacheGroup&, const QueryBlock&, float (*)[kGroupRows]);
template void find_scores<KvType::int8>(const CacheGroup&, const QueryBlock&, float (*)[kGroupRows]);

}  // namespace fastcache::attention::avx2
FC_TARGET_END
#endif
