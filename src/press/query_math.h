// SPDX-License-Identifier: Apache-2.0
// Arithmetic over rows of keys that gives the same bits on every CPU.
#pragma once

#include <bit>
#include <cstdint>

namespace fastcache::press {

constexpr int kColumns = 64;      // columns of a product
constexpr int kHalfColumns = 32;  // that one call computes
constexpr int kBlockRows = 4;     // by kHalfColumns: the sums stay in registers

// out: [n_rows, of kColumns] = k [n_rows, head_dim], its first n_channels, * columns [n_channels, of
// kColumns]. n_rows: a multiple of kBlockRows.
void row_products(const float* k, int n_rows, int head_dim, int n_channels, const float* columns, float* out);

// e^x for x <= 0 to a relative 1e-7; 0 below -86. A Taylor-like polynomial behind Cody and Waite's reduction.
[[gnu::always_inline]] inline float exp_of_negative(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: the sum's last bit is worth 1
  const float clamped = x < -86.0f ? -86.0f : x;
  const float rounded = clamped * 1.44269504f + kRound;
  const float n = rounded - kRound;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const float scaled =
      std::bit_cast<float>(std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(rounded) << 23));
  return x < -86.0f ? 0.0f : scaled;
}

}  // namespace fastcache::press
