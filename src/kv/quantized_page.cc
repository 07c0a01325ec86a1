// SPDX-License-Identifier: Apache-2.0
// Loops that the compiler vectorises, with the same bits for every target.
#include "kv/quantized_page.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/simd.h"

namespace fastcache::kv {
namespace {

constexpr int kTile = 64;  // channels at a time, at most
constexpr float kLargest = 1e38f;
constexpr float kSmallestNormal = 0x1p-126f;
constexpr float kFarthestZero = 2047.0f;  // in steps; fits int16 in sixteenths

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

// low, high: of the group's numbers that count; low > high: there are none.
Coder make_coder(float low, float high, int bits) {
  Coder coder;
  if (low > high) return coder;
  const float n_steps = static_cast<float>((1 << bits) - 1) - 1.0f / 16;
  const float wanted = std::max((high - low) / n_steps, std::fabs(low) / kFarthestZero);
  if (!(wanted >= kSmallestNormal)) return coder;
  coder.low = low;
  coder.high = high;
  coder.step.scale = round_up_to_bf16(wanted);
  coder.inverse = 1.0f / bf16_to_f32(coder.step.scale);
  coder.step.zero = static_cast<int16_t>(std::floor(low * coder.inverse * 16));
  coder.offset = static_cast<float>(coder.step.zero) / 16;
  return coder;
}

// The groups of a tile of channels, side by side.
struct Ranges {
  float low[kTile];
  float high[kTile];
};
struct Coders {
  Ranges range;
  float inverse[kTile];
  float offset[kTile];

  void set(int i, const Coder& coder) {
    range.low[i] = coder.low;
    range.high[i] = coder.high;
    inverse[i] = coder.inverse;
    offset[i] = coder.offset;
  }
};

// Number i of each row of x belongs to group i.
FC_CLONES void find_ranges(const float* x, int n_rows, int stride, int n, Ranges& ranges) {
  std::fill_n(ranges.low, n, kLargest);
  std::fill_n(ranges.high, n, -kLargest);
  for (int r = 0; r < n_rows; ++r, x += stride)
    for (int i = 0; i < n; ++i) {
      const bool counts = std::fabs(x[i]) <= kLargest;  // not NaN either
      const float low = ranges.low[i], high = ranges.high[i];
      ranges.low[i] = counts && x[i] < low ? x[i] : low;
      ranges.high[i] = counts && x[i] > high ? x[i] : high;
    }
}

// code: [n], number i by coder i.
FC_CLONES void find_codes(const float* x, int n, const Coders& coders, int top, int32_t* code) {
  for (int i = 0; i < n; ++i) {
    const float number = x[i] == x[i] ? x[i] : 0.0f;
    const float below = number < coders.range.high[i] ? number : coders.range.high[i];
    const float inside = below > coders.range.low[i] ? below : coders.range.low[i];
    const int32_t nearest =
        static_cast<int32_t>(inside * coders.inverse[i] - coders.offset[i] + 0.5f);  // above -1: truncates
    code[i] = nearest < top ? nearest : top;
  }
}

template <class T>
void put(std::byte* base, size_t index, T value) {
  std::memcpy(base + index * sizeof(T), &value, sizeof(T));
}

template <int bits>
void quantize_keys(std::byte* page, const QuantizedLayout& layout, int n, const float* k) {
  constexpr int kWord = 32 / bits;
  for (int first = 0; first < layout.head_dim; first += kTile) {
    const int n_channels = std::min(kTile, layout.head_dim - first);
    Coders coders;
    find_ranges(k + first, n, layout.head_dim, n_channels, coders.range);
    for (int i = 0; i < n_channels; ++i) {
      const Coder coder = make_coder(coders.range.low[i], coders.range.high[i], bits);
      coders.set(i, coder);
      put(page + layout.channel_steps_at(), first + i, coder.step);
    }
    for (int r = 0; r < n; ++r) {
      int32_t code[kTile];
      find_codes(k + static_cast<size_t>(r) * layout.head_dim + first, n_channels, coders, (1 << bits) - 1,
                 code);
      for (int i = 0; i < n_channels; i += kWord) {
        uint32_t word = 0;
        for (int j = 0; j < kWord; ++j)
          word |= static_cast<uint32_t>(code[i + j]) << quantized_bit(j, bits, 16);
        put(page, static_cast<size_t>((first + i) / kWord) * layout.rows + r, word);
      }
    }
  }
}

// Of a whole row: as many ranges as a tile has channels, then those together.
Coder row_coder(const float* x, int head_dim, int bits) {
  float low = kLargest, high = -kLargest;
  Ranges ranges;
  const int n_tiles = head_dim / kTile, rest = head_dim % kTile;
  const auto add = [&](int n) {
    for (int i = 0; i < n; ++i) {
      low = std::min(low, ranges.low[i]);
      high = std::max(high, ranges.high[i]);
    }
  };
  if (n_tiles > 0) {
    find_ranges(x, n_tiles, kTile, kTile, ranges);
    add(kTile);
  }
  if (rest > 0) {
    find_ranges(x + static_cast<ptrdiff_t>(n_tiles) * kTile, 1, 0, rest, ranges);
    add(rest);
  }
  return make_coder(low, high, bits);
}

template <int bits>
void quantize_values(std::byte* page, const QuantizedLayout& layout, int n, const float* v) {
  using Word = std::conditional_t<bits == 2, uint16_t, uint32_t>;
  constexpr int kUnit = bits == 8 ? 4 : 8;
  std::byte* const words = page + layout.values_at();
  for (int unit = 0; unit * kUnit < n; ++unit) {
    const int n_rows = std::min(kUnit, n - unit * kUnit);
    const float* rows = v + static_cast<size_t>(unit) * kUnit * layout.head_dim;
    Coder coder[kUnit];
    for (int r = 0; r < n_rows; ++r) {
      coder[r] = row_coder(rows + static_cast<size_t>(r) * layout.head_dim, layout.head_dim, bits);
      put(page + layout.row_steps_at(), unit * kUnit + r, coder[r].step);
    }
    for (int first = 0; first < layout.head_dim; first += kTile) {
      const int n_channels = std::min(kTile, layout.head_dim - first);
      uint32_t word[kTile] = {};
      for (int r = 0; r < n_rows; ++r) {
        Coders coders;
        for (int i = 0; i < n_channels; ++i) coders.set(i, coder[r]);
        int32_t code[kTile];
        find_codes(rows + static_cast<size_t>(r) * layout.head_dim + first, n_channels, coders,
                   (1 << bits) - 1, code);
        const int shift = quantized_bit(r, bits, kUnit * bits / 2);
        for (int i = 0; i < n_channels; ++i) word[i] |= static_cast<uint32_t>(code[i]) << shift;
      }
      for (int i = 0; i < n_channels; ++i)
        put(words, static_cast<size_t>(unit) * layout.head_dim + first + i, static_cast<Word>(word[i]));
    }
  }
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

}  // namespace fastcache::kv
