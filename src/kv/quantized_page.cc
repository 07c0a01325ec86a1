// SPDX-License-Identifier: Apache-2.0
// Loops that the compiler vectorises; one path, so the bits are the same on every machine.
#include "kv/quantized_page.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace fastcache::kv {
namespace {

constexpr int kTile = 64;       // channels at a time, at most
constexpr float kLargest = 1e38f;
constexpr float kSmallestNormal = 0x1p-126f;
constexpr float kFarthestZero = 2047.0f;  // in steps; fits int16 in sixteenths

struct Range {
  float low = kLargest;
  float high = -kLargest;
};

// How the numbers of one group become codes.
struct Coder {
  float low = 0.0f;
  float high = 0.0f;
  float inverse = 0.0f;
  float offset = 0.0f;  // zero / 16, in steps
  QuantStep step{};
};

// The smallest bf16 that is not below x > 0.
bf16_t round_up_to_bf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  return static_cast<bf16_t>((bits >> 16) + ((bits & 0xffffU) != 0 ? 1 : 0));
}

Coder make_coder(const Range& range, int bits) {
  Coder coder;
  if (range.low > range.high) return coder;  // nothing finite
  const float n_steps = static_cast<float>((1 << bits) - 1) - 1.0f / 16;
  const float wanted = std::max((range.high - range.low) / n_steps, std::fabs(range.low) / kFarthestZero);
  if (!(wanted >= kSmallestNormal)) return coder;
  coder.low = range.low;
  coder.high = range.high;
  coder.step.scale = round_up_to_bf16(wanted);
  coder.inverse = 1.0f / bf16_to_f32(coder.step.scale);
  coder.step.zero = static_cast<int16_t>(std::floor(range.low * coder.inverse * 16));
  coder.offset = static_cast<float>(coder.step.zero) / 16;
  return coder;
}

float in_range(float x, float low, float high) {
  const float number = x == x ? x : 0.0f;
  return std::max(low, std::min(number, high));
}

uint32_t code_of(float x, const Coder& coder, int top) {
  const float steps = in_range(x, coder.low, coder.high) * coder.inverse - coder.offset;
  return static_cast<uint32_t>(std::min(static_cast<int>(steps + 0.5f), top));
}

void widen(Range& range, float x) {
  const bool counts = std::fabs(x) <= kLargest;  // not NaN either
  range.low = std::min(range.low, counts ? x : range.low);
  range.high = std::max(range.high, counts ? x : range.high);
}

template <class T>
void put(std::byte* base, size_t index, T value) {
  std::memcpy(base + index * sizeof(T), &value, sizeof(T));
}

template <class T>
T get(const std::byte* base, size_t index) {
  T value;
  std::memcpy(&value, base + index * sizeof(T), sizeof(T));
  return value;
}

// Where the i-th code of a word begins; half: bits of half the word.
constexpr int bit_of(int i, int bits, int half) { return i / 2 * bits + i % 2 * half; }

template <int bits>
void quantize_keys(std::byte* page, const QuantizedLayout& layout, int n, const float* k) {
  constexpr int kWord = 32 / bits;
  const int head_dim = layout.head_dim;
  for (int first = 0; first < head_dim; first += kTile) {
    const int n_channels = std::min(kTile, head_dim - first);
    Range ranges[kTile];
    for (int r = 0; r < n; ++r)
      for (int i = 0; i < n_channels; ++i) widen(ranges[i], k[static_cast<size_t>(r) * head_dim + first + i]);
    Coder coders[kTile];
    for (int i = 0; i < n_channels; ++i) {
      coders[i] = make_coder(ranges[i], bits);
      put(page + layout.channel_steps_at(), first + i, coders[i].step);
    }
    for (int r = 0; r < n; ++r) {
      const float* row = k + static_cast<size_t>(r) * head_dim + first;
      for (int i = 0; i < n_channels; i += kWord) {
        uint32_t word = 0;
        for (int j = 0; j < kWord; ++j)
          word |= code_of(row[i + j], coders[i + j], (1 << bits) - 1) << bit_of(j, bits, 16);
        put(page, static_cast<size_t>((first + i) / kWord) * layout.rows + r, word);
      }
    }
  }
}

template <int bits>
void quantize_values(std::byte* page, const QuantizedLayout& layout, int n, const float* v) {
  constexpr int kUnit = bits == 8 ? 4 : 8;
  constexpr int kWordBits = kUnit * bits;
  const int head_dim = layout.head_dim;
  std::byte* const words = page + layout.values_at();
  for (int first = 0; first < n; first += kUnit) {
    const int n_rows = std::min(kUnit, n - first);
    const float* rows = v + static_cast<size_t>(first) * head_dim;
    Coder coders[kUnit];
    for (int r = 0; r < n_rows; ++r) {
      Range range;
      for (int d = 0; d < head_dim; ++d) widen(range, rows[static_cast<size_t>(r) * head_dim + d]);
      coders[r] = make_coder(range, bits);
      put(page + layout.row_steps_at(), first + r, coders[r].step);
    }
    for (int d = 0; d < head_dim; ++d) {
      uint32_t word = 0;
      for (int r = 0; r < n_rows; ++r)
        word |= code_of(rows[static_cast<size_t>(r) * head_dim + d], coders[r], (1 << bits) - 1)
                << bit_of(r, bits, kWordBits / 2);
      const size_t at = static_cast<size_t>(first / kUnit) * head_dim + d;
      if constexpr (kWordBits == 16)
        put(words, at, static_cast<uint16_t>(word));
      else
        put(words, at, word);
    }
  }
}

template <int bits>
void read_keys(const std::byte* page, const QuantizedLayout& layout, int first_row, int n, float* k) {
  constexpr int kWord = 32 / bits;
  for (int w = 0; w < layout.head_dim / kWord; ++w) {
    float scale[kWord], offset[kWord];
    for (int i = 0; i < kWord; ++i) {
      const auto step = get<QuantStep>(page + layout.channel_steps_at(), w * kWord + i);
      scale[i] = bf16_to_f32(step.scale);
      offset[i] = static_cast<float>(step.zero) / 16;
    }
    for (int r = 0; r < n; ++r) {
      const auto word = get<uint32_t>(page, static_cast<size_t>(w) * layout.rows + first_row + r);
      float* out = k + static_cast<size_t>(r) * layout.head_dim + w * kWord;
      for (int i = 0; i < kWord; ++i) {
        const uint32_t code = (word >> bit_of(i, bits, 16)) & ((1U << bits) - 1);
        out[i] = scale[i] * (static_cast<float>(static_cast<int>(code)) + offset[i]);
      }
    }
  }
}

template <int bits>
void read_values(const std::byte* page, const QuantizedLayout& layout, int first_row, int n, float* v) {
  using Word = std::conditional_t<bits == 2, uint16_t, uint32_t>;
  constexpr int kUnit = bits == 8 ? 4 : 8;
  for (int r = 0; r < n; ++r, v += layout.head_dim) {
    const int row = first_row + r;
    const auto step = get<QuantStep>(page + layout.row_steps_at(), row);
    const float scale = bf16_to_f32(step.scale), offset = static_cast<float>(step.zero) / 16;
    const int shift = bit_of(row % kUnit, bits, kUnit * bits / 2);
    const std::byte* words =
        page + layout.values_at() + static_cast<size_t>(row / kUnit) * layout.head_dim * sizeof(Word);
    for (int d = 0; d < layout.head_dim; ++d) {
      const uint32_t code = (get<Word>(words, d) >> shift) & ((1U << bits) - 1);
      v[d] = scale * (static_cast<float>(static_cast<int>(code)) + offset);
    }
  }
}

// Calls f with the bits as a template argument.
template <class F>
void by_bits(int bits, F f) {
  if (bits == 8) f.template operator()<8>();
  if (bits == 4) f.template operator()<4>();
  if (bits == 2) f.template operator()<2>();
}

}  // namespace

void quantize_page(const PageRef& page, KvType type, int head_dim, int n, const float* k, const float* v) {
  const QuantizedLayout layout = quantized_layout(type, head_dim);
  assert(is_quantized(type) && n >= 0 && n <= layout.rows);
  by_bits(layout.bits, [&]<int bits>() {
    quantize_keys<bits>(page.payload, layout, n, k);
    quantize_values<bits>(page.payload, layout, n, v);
  });
}

void read_quantized_rows(const PageRef& page, KvType type, int head_dim, int first_row, int n, float* k,
                         float* v) {
  const QuantizedLayout layout = quantized_layout(type, head_dim);
  assert(is_quantized(type) && first_row >= 0 && first_row + n <= layout.rows);
  by_bits(layout.bits, [&]<int bits>() {
    if (k != nullptr) read_keys<bits>(page.payload, layout, first_row, n, k);
    if (v != nullptr) read_values<bits>(page.payload, layout, first_row, n, v);
  });
}

}  // namespace fastcache::kv
