// SPDX-License-Identifier: Apache-2.0
// How a row becomes 8-bit codes: symmetric, x = code * scale, |error| <= scale / 2. NaN becomes 0, what is
// infinite the row's largest; a row whose scale would be subnormal counts as zeros. Works on the bits and
// without branches, so that loops over it vectorise. Used by page_layout.cc alone.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace fastcache::kv {

constexpr int32_t kInfBits = 0x7f800000;

inline int32_t magnitude_bits(float x) { return std::bit_cast<int32_t>(x) & 0x7fffffff; }
inline uint32_t all_ones_if_nan(float x) {
  return static_cast<uint32_t>((kInfBits - magnitude_bits(x)) >> 31);
}

struct Int8Row {
  Int8Row(const float* x, int n) {
    int32_t bits = 0;  // of positive floats: ordered as the floats are
    for (int i = 0; i < n; ++i) {
      const int32_t magnitude = magnitude_bits(x[i]);
      bits = std::max(bits, magnitude < kInfBits ? magnitude : 0);
    }
    constexpr float kLargest = 3.4e38f;  // 127 * (kLargest / 127) is still finite
    constexpr float kSmallestNormal = 0x1p-126f;
    const float largest = std::min(std::bit_cast<float>(bits), kLargest);
    largest_bits = std::bit_cast<int32_t>(largest);
    if (largest / 127.0f < kSmallestNormal) return;
    scale = largest / 127.0f;
    inverse = 127.0f / largest;
  }

  // Round to nearest even, in [-127, 127].
  int32_t code(float x) const {
    const uint32_t sign = std::bit_cast<uint32_t>(x) & 0x80000000U;
    const uint32_t magnitude = static_cast<uint32_t>(std::min(magnitude_bits(x), largest_bits));
    const float clamped = std::bit_cast<float>((sign | magnitude) & ~all_ones_if_nan(x));
    constexpr float kWhole = 0x1.8p23f;  // from here on floats are whole numbers
    return std::bit_cast<int32_t>(clamped * inverse + kWhole) - std::bit_cast<int32_t>(kWhole);
  }

  float scale = 0.0f;
  float inverse = 0.0f;
  int32_t largest_bits = 0;
};

}  // namespace fastcache::kv
