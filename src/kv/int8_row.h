// SPDX-License-Identifier: Apache-2.0
// How a row becomes 8-bit codes: symmetric, x = code * scale, |error| <= scale / 2. Branch-free, so that
// loops over it vectorise. Used by page_layout.cc alone.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace fastcache::kv {

constexpr float kLargest =
    3.4e38f;  // what rows are scaled to at most: 127 * (kLargest / 127) is still finite

// The largest finite magnitude, by the order of the bits.
inline float largest_magnitude(const float* x, int n) {
  int32_t largest = 0;
  for (int i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(x[i]) & 0x7fffffff;
    largest = std::max(largest, magnitude < 0x7f800000 ? magnitude : 0);
  }
  return std::min(std::bit_cast<float>(largest), kLargest);
}

// NaN becomes 0, what is infinite becomes the row's largest. A row whose scale would be subnormal counts as
// zeros.
struct Int8Scale {
  explicit Int8Scale(float largest) {
    constexpr float kSmallestNormal = 0x1p-126f;
    scale = largest / 127.0f;
    inverse = scale < kSmallestNormal ? 0.0f : 127.0f / largest;
    if (inverse == 0.0f) scale = 0.0f;
  }
  float scale = 0.0f;
  float inverse = 0.0f;
};

// Round to nearest even, [-127, 127].
inline int32_t to_code(float x, float inverse) {
  const float zero_if_nan = x == x ? x : 0.0f;
  const float finite = std::max(std::min(zero_if_nan, kLargest), -kLargest);
  const float scaled = std::max(std::min(finite * inverse, 127.0f), -127.0f);
  return std::bit_cast<int32_t>(scaled + 0x1.8p23f) - std::bit_cast<int32_t>(0x1.8p23f);
}

}  // namespace fastcache::kv
