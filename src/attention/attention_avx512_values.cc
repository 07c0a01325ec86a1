// SPDX-License-Identifier: Apache-2.0
// The weighted sum of V, by VDPBF16PS over pairs of rows. A tile of R query rows x C vectors of 16 channels
// stays in registers.
#include <algorithm>
#include <cstring>

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

struct ValuesBf16 {
  static constexpr int kPairs = 8;  // of rows in a page
  static const std::byte* page(const CacheGroup& group, int entry) {
    return group.pages[entry] + kv::value_offset_bytes(group.head_dim);
  }
  static __m512i load(const std::byte* values, int head_dim, int pair, int channel) {
    return _mm512_load_si512(values + (pair * head_dim + channel) * 4);
  }
  static void prefetch(const std::byte* values, int head_dim, int pair, int channel) {
    _mm_prefetch(values + (pair * head_dim + channel) * 4, _MM_HINT_T1);
  }
};

struct ValuesInt8 {
  static constexpr int kPairs = 16;
  static const std::byte* page(const CacheGroup& group, int entry) { return ValuesBf16::page(group, entry); }
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

struct ValuesUnpacked {
  static constexpr int kPairs = 16;
  static const std::byte* page(const CacheGroup& group, int entry) {
    return group.values + entry * kPairs * group.head_dim * 4;
  }
  static __m512i load(const std::byte* values, int head_dim, int pair, int channel) {
    return ValuesBf16::load(values, head_dim, pair, channel);
  }
  static void prefetch(const std::byte*, int, int, int) {}  // unpacking did it
};

template <class Values, int R, int C>
void add_values(const CacheGroup& group, const QueryBlock& block, const uint16_t (*weights)[kGroupRows],
                int channel) {
  const int head_dim = group.head_dim;
  __m512 acc[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_loadu_ps(block.acc + r * head_dim + channel + c * kChunk);
  }
  for (int entry = 0; entry < block.n_entries; ++entry) {
    const std::byte* values = Values::page(group, entry);
    const std::byte* next = group.next[entry] + kv::value_offset_bytes(head_dim);
    const uint16_t* pair_weights = weights[0] + entry * 2 * Values::kPairs;
    for (int pair = 0; pair < Values::kPairs; ++pair, pair_weights += 2) {
      __m512i v[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) {
        v[c] = Values::load(values, head_dim, pair, channel + c * kChunk);
        Values::prefetch(next, head_dim, pair, channel + c * kChunk);
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) {
        int both;
        std::memcpy(&both, pair_weights + r * kGroupRows, sizeof(both));
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

using ValuesFn = void (*)(const CacheGroup&, const QueryBlock&, const uint16_t (*)[kGroupRows], int channel);

template <int R, int C>
constexpr ValuesFn add_bf16 = add_values<ValuesBf16, R, C>;
template <int R, int C>
constexpr ValuesFn add_int8 = add_values<ValuesInt8, R, C>;
template <int R, int C>
constexpr ValuesFn add_unpacked = add_values<ValuesUnpacked, R, C>;

constexpr ValuesFn kAddBf16[kBlockRows][4] = FC_TILES(add_bf16);
constexpr ValuesFn kAddInt8[kBlockRows][4] = FC_TILES(add_int8);
constexpr ValuesFn kAddUnpacked[kBlockRows][4] = FC_TILES(add_unpacked);

void add_all_values(const ValuesFn (*table)[4], const CacheGroup& group, const QueryBlock& block,
                    const uint16_t (*weights)[kGroupRows]) {
  for (int channel = 0; channel < group.head_dim; channel += 4 * kChunk) {
    const int chunks = std::min(4, (group.head_dim - channel) / kChunk);
    table[block.n_rows - 1][chunks - 1](group, block, weights, channel);
  }
}

}  // namespace

void add_values_bf16(const CacheGroup& group, const QueryBlock& block,
                     const uint16_t (*weights)[kGroupRows]) {
  add_all_values(kAddBf16, group, block, weights);
}

void add_values_int8(const CacheGroup& group, const QueryBlock& block,
                     const uint16_t (*weights)[kGroupRows]) {
  add_all_values(group.values != nullptr ? kAddUnpacked : kAddInt8, group, block, weights);
}

void unpack_values_int8(const CacheGroup& group, std::byte* to) noexcept {
  for (int entry = 0; entry < group.n_entries; ++entry) {
    const std::byte* values = ValuesInt8::page(group, entry);
    const std::byte* next = group.next[entry] + kv::value_offset_bytes(group.head_dim);
    for (int pair = 0; pair < ValuesInt8::kPairs; ++pair) {
      for (int channel = 0; channel < group.head_dim; channel += kChunk, to += 64) {
        _mm512_store_si512(to, ValuesInt8::load(values, group.head_dim, pair, channel));
        ValuesInt8::prefetch(next, group.head_dim, pair, channel);
      }
    }
  }
}

}  // namespace fastcache::attention::avx512
FC_TARGET_END
#endif
