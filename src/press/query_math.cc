// SPDX-License-Identifier: Apache-2.0
#include "press/query_math.h"

#include <cstring>

#include "base/simd.h"

namespace fastcache::press {
namespace {

constexpr int kWidth = 16;
using Vector [[gnu::vector_size(64)]] = float;

}  // namespace

FC_CLONES void row_products(const float* k, int n_rows, int head_dim, int n_channels, const float* columns,
                            float* out) {
  static_assert(kHalfColumns == 2 * kWidth);
  for (int row = 0; row < n_rows; row += kBlockRows) {
    const float* k0 = k + static_cast<size_t>(row) * head_dim;
    Vector sums[kBlockRows][2] = {};
    for (int d = 0; d < n_channels; ++d) {
      Vector a, b;
      std::memcpy(&a, columns + d * kColumns, sizeof a);
      std::memcpy(&b, columns + d * kColumns + kWidth, sizeof b);
#pragma GCC unroll 4
      for (int r = 0; r < kBlockRows; ++r) {
        const float x = k0[r * head_dim + d];
        sums[r][0] += x * a;
        sums[r][1] += x * b;
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kBlockRows; ++r) {
      float* to = out + static_cast<size_t>(row + r) * kColumns;
      std::memcpy(to, &sums[r][0], sizeof(Vector));
      std::memcpy(to + kWidth, &sums[r][1], sizeof(Vector));
    }
  }
}

}  // namespace fastcache::press
