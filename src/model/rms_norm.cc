// SPDX-License-Identifier: Apache-2.0
#include "model/rms_norm.h"

#include <cmath>
#include <cstddef>

#include "base/simd.h"

namespace fastcache::model {
namespace {

constexpr size_t kLanes = 16;  // partial sums: one AVX-512 register, or two or four narrower ones

FC_CLONES void scale_row(const float* x, const float* weight, size_t n, float eps, float* out) {
  float lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += x[i + lane] * x[i + lane];
  }
  for (; i < n; ++i) lanes[i % kLanes] += x[i] * x[i];
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  const float factor = 1.0f / std::sqrt(lanes[0] / static_cast<float>(n) + eps);
  for (size_t j = 0; j < n; ++j) out[j] = x[j] * factor * weight[j];
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out) {
  scale_row(x.data(), weight.data(), x.size(), eps, out);
}

}  // namespace fastcache::model
