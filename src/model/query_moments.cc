// SPDX-License-Identifier: Apache-2.0
#include "model/query_moments.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/simd.h"

namespace fastcache::model {
namespace {

constexpr int kWidth = 16;
constexpr int kTileFloats = 4096;  // of queries less their origin: 16 KiB on the stack, in the first cache
constexpr int kRows = 4;
using Vector [[gnu::vector_size(64)]] = float;

// products: [16, head_dim] of the channels from `first` on, with those from `first` on. q: [n, head_dim].
FC_CLONES void add_products(const float* q, int n, int head_dim, int first, float* products) {
  for (int row = 0; row < kWidth; row += kRows) {
    for (int column = first; column < head_dim; column += kWidth) {
      Vector sums[kRows];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        std::memcpy(&sums[r], products + (row + r) * head_dim + column, sizeof(Vector));
      for (int token = 0; token < n; ++token) {
        const float* x = q + static_cast<size_t>(token) * head_dim;
        Vector y;
        std::memcpy(&y, x + column, sizeof y);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) sums[r] += x[first + row + r] * y;
      }
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r)
        std::memcpy(products + (row + r) * head_dim + column, &sums[r], sizeof(Vector));
    }
  }
}

// sums: [16], of the channels from `first` on.
void add_sums(const float* q, int n, int head_dim, int first, float* sums) {
  for (int token = 0; token < n; ++token)
    for (int i = 0; i < kWidth; ++i) sums[i] += q[static_cast<size_t>(token) * head_dim + first + i];
}

}  // namespace

QueryMoments::QueryMoments(int n_layers, int n_heads, int head_dim, int first_token, int end_token)
    : n_heads_(n_heads),
      head_dim_(head_dim),
      first_token_(first_token),
      n_tokens_(std::max(0, end_token - first_token)),
      sums_(static_cast<size_t>(n_layers) * n_heads * head_size()) {
  static_assert(kWidth == kPartChannels);
  assert(head_dim % kPartChannels == 0 && head_dim <= kTileFloats);
}

void QueryMoments::add(int layer, int head, int part, int token, int n, const float* q,
                       size_t stride) noexcept {
  const int skip = std::max(0, first_token_ - token);
  const int end = std::min(n, first_token_ + n_tokens_ - token);
  if (skip >= end) return;
  float* origin = sums_.data() + static_cast<size_t>(layer * n_heads_ + head) * head_size();
  float* sums = origin + head_dim_;
  float* products = sums + head_dim_;
  // The other parts may be reading the first query while one of them stores it.
  const float* zero = token + skip == first_token_ ? q + static_cast<size_t>(skip) * stride : origin;
  if (part == 0 && zero != origin) std::copy_n(zero, head_dim_, origin);

  const int first = part * kPartChannels, tile = kTileFloats / head_dim_;
  alignas(64) float shifted[kTileFloats];
  for (int begin = skip; begin < end; begin += tile) {
    const int n_here = std::min(tile, end - begin);
    for (int t = 0; t < n_here; ++t) {
      const float* from = q + static_cast<size_t>(begin + t) * stride;
      for (int d = 0; d < head_dim_; ++d) shifted[t * head_dim_ + d] = from[d] - zero[d];
    }
    add_products(shifted, n_here, head_dim_, first, products + static_cast<size_t>(first) * head_dim_);
    add_sums(shifted, n_here, head_dim_, first, sums + first);
  }
}

void QueryMoments::get(int layer, int head, double* mean, double* covariance) const {
  const float* origin = of(layer, head);
  const float* sums = origin + head_dim_;
  const float* products = sums + head_dim_;
  const double share = 1.0 / std::max(1, n_tokens_);
  for (int i = 0; i < head_dim_; ++i) {
    mean[i] = static_cast<double>(origin[i]) + sums[i] * share;
    for (int j = i; j < head_dim_; ++j) {
      const double of_pair =
          products[static_cast<size_t>(i) * head_dim_ + j] * share - sums[i] * share * (sums[j] * share);
      covariance[static_cast<size_t>(i) * head_dim_ + j] = of_pair;
      covariance[static_cast<size_t>(j) * head_dim_ + i] = of_pair;
    }
  }
}

}  // namespace fastcache::model
