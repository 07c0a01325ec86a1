// SPDX-License-Identifier: Apache-2.0
// The weighted sum of V in f32; bf16 and int8 are widened in registers. A tile of R query rows x 16 channels
// stays in registers.
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

inline __m256 byte_of(__m256i fours, int row) {
  return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(fours, 24 - 8 * row), 24));
}

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
    const std::byte* at = values + (row / 4 * head_dim + channel) * 4;
    return {byte_of(load_bytes(at), row % 4), byte_of(load_bytes(at + 32), row % 4)};
  }
}

template <KvType type, int R>
void add_tile(const CacheGroup& group, const QueryBlock& block, const float (*weights)[kGroupRows],
              int channel) {
  constexpr int page_rows = kv::rows_per_page(type);
  Pair acc[R];
  float* const out = block.acc + channel;
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    acc[r] = {_mm256_loadu_ps(out + r * group.head_dim), _mm256_loadu_ps(out + r * group.head_dim + kVector)};
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = group.pages[entry] + kv::value_offset_bytes(group.head_dim);
    const float* page_weights = weights[0] + entry * page_rows;
    for (int row = 0; row < page_rows; row += 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const Pair v = load_v<type>(values, group.head_dim, row + i, channel);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const __m256 w = _mm256_broadcast_ss(page_weights + row + i + r * kGroupRows);
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

template <KvType type, int R>
void add_values_of(const CacheGroup& group, const QueryBlock& block, const float (*weights)[kGroupRows]) {
  for (int channel = 0; channel < group.head_dim; channel += kChunk)
    add_tile<type, R>(group, block, weights, channel);
}

}  // namespace

template <KvType type>
void add_values(const CacheGroup& group, const QueryBlock& block, const float (*weights)[kGroupRows]) {
  static_assert(kBlockRows == 6);
  switch (block.n_rows) {
    case 1:
      return add_values_of<type, 1>(group, block, weights);
    case 2:
      return add_values_of<type, 2>(group, block, weights);
    case 3:
      return add_values_of<type, 3>(group, block, weights);
    case 4:
      return add_values_of<type, 4>(group, block, weights);
    case 5:
      return add_values_of<type, 5>(group, block, weights);
    default:
      return add_values_of<type, 6>(group, block, weights);
  }
}

template void add_values<KvType::f32>(const CacheGroup&, const QueryBlock&, const float (*)[kGroupRows]);
template void add_values<KvType::bf16>(const CacheGroup&, const QueryBlock&, const float (*)[kGroupRows]);
template void add_values<KvType::int8>(const CacheGroup&, const QueryBlock&, const float (*)[kGroupRows]);

}  // namespace fastcache::attention::avx2
FC_TARGET_END
#endif
