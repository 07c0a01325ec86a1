// SPDX-License-Identifier: Apache-2.0
#include "press/row_math.h"

#include <limits>

namespace fastcache::press {
FC_CLONES void squared_norms(const float* x, int n, int head_dim, float* out) {
  for (int r = 0; r < n; ++r, x += head_dim) {
    float sums[kLanes] = {};
    for (int d = 0; d < head_dim; d += kLanes)
      for (int i = 0; i < kLanes; ++i) sums[i] += x[d + i] * x[d + i];
    out[r] = folded(sums);
  }
}

FC_CLONES void dot_products(const float* x, int n, int head_dim, const float* y, float* out) {
  for (int r = 0; r < n; ++r, x += head_dim) {
    float sums[kLanes] = {};
    for (int d = 0; d < head_dim; d += kLanes)
      for (int i = 0; i < kLanes; ++i) sums[i] += x[d + i] * y[d + i];
    out[r] = folded(sums);
  }
}

FC_CLONES void add_weighted_rows(const float* x, int n, int head_dim, const float* weights, float* sum) {
  for (int r = 0; r < n; ++r, x += head_dim)
    for (int d = 0; d < head_dim; ++d) sum[d] += weights[r] * x[d];
}

FC_CLONES void channel_ranges(const float* x, int n, int head_dim, float* low, float* high) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (int d = 0; d < head_dim; ++d) {
    low[d] = std::numeric_limits<float>::infinity();
    high[d] = -low[d];
  }
  for (int r = 0; r < n; ++r, x += head_dim)
    for (int d = 0; d < head_dim; ++d) {
      low[d] = x[d] < low[d] && x[d] >= -kLargest ? x[d] : low[d];
      high[d] = x[d] > high[d] && x[d] <= kLargest ? x[d] : high[d];
    }
}

}  // namespace fastcache::press
