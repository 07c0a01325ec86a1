// SPDX-License-Identifier: Apache-2.0
// Sums over the channels of rows, for presses. Sixteen partial sums in a fixed order: the same bits on every
// CPU. head_dim is a multiple of 16. Functions without state: any thread.
#pragma once

#include "base/simd.h"

namespace fastcache::press {

constexpr int kLanes = 16;
constexpr int kTileRows = 64;  // rows of a tile stay in the first caches

// The sum of a row's partial sums; they are changed. Bounds that the compiler knows keep them in registers.
inline __attribute__((always_inline)) float folded(float (&sums)[kLanes]) {
  for (int i = 0; i < 8; ++i) sums[i] += sums[i + 8];
  for (int i = 0; i < 4; ++i) sums[i] += sums[i + 4];
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// out: [n], of each row of x [n, head_dim]: the sum of squares, and the product with y [head_dim].
void squared_norms(const float* x, int n, int head_dim, float* out);
void dot_products(const float* x, int n, int head_dim, const float* y, float* out);

// sum: [head_dim] += each row of x [n, head_dim] times its weight [n].
void add_weighted_rows(const float* x, int n, int head_dim, const float* weights, float* sum);

// low, high: [head_dim], of each channel of x [n, head_dim]; what is not finite is passed over. Where
// nothing is left, low is above high.
void channel_ranges(const float* x, int n, int head_dim, float* low, float* high);

}  // namespace fastcache::press
