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
constexpr int kRows = 8;           // sums in registers
using Vector [[gnu::vector_size(64)]] = float;

// q less its origin: [n, width] of the channels from `first` on. from: [n, stride].
FC_CLONES void shift(const float* from, size_t stride, int n, int width, const float* origin, float* q) {
  for (int token = 0; token < n; ++token, from += stride, q += width)
    for (int i = 0; i < width; ++i) q[i] = from[i] - origin[i];
}

// products: [16, stride] of the first 16 channels of q [n, width] with all of them.
FC_CLONES void add_products(const float* q, int n, int width, float* products, int stride) {
  for (int row = 0; row < kWidth; row += kRows) {
    for (int column = 0; column < width; column += kWidth) {
      Vector sums[kRows];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        std::memcpy(&sums[r], products + (row + r) * stride + column, sizeof(Vector));
      for (int token = 0; token < n; ++token) {
        const float* x = q + static_cast<size_t>(token) * width;
        Vector y;
        std::memcpy(&y, x + column, sizeof y);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sums[r] += x[row + r] * y;
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        std::memcpy(products + (row + r) * stride + column, &sums[r], sizeof(Vector));
    }
  }
}

// sums: [16], of the first channels.
FC_CLONES void add_sums(const float* q, int n, int width, float* sums) {
  float total[kWidth];
  for (int i = 0; i < kWidth; ++i) total[i] = sums[i];
  for (int token = 0; token < n; ++token, q += width)
    for (int i = 0; i < kWidth; ++i) total[i] += q[i];
  for (int i = 0; i < kWidth; ++i) sums[i] = total[i];
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

  // Of a symmetric matrix the part needs what is right of its first channel.
  const int first = part * kPartChannels, width = head_dim_ - first, tile = kTileFloats / width;
  float* of_part = products + static_cast<size_t>(first) * head_dim_ + first;
  alignas(64) float shifted[kTileFloats];
  for (int begin = skip; begin < end; begin += tile) {
    const int n_here = std::min(tile, end - begin);
    shift(q + static_cast<size_t>(begin) * stride + first, stride, n_here, width, zero + first, shifted);
    add_products(shifted, n_here, width, of_part, head_dim_);
    add_sums(shifted, n_here, width, sums + first);
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
