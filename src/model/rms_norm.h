// SPDX-License-Identifier: Apache-2.0
// Root-mean-square normalisation of one row. Any thread.
// source: arXiv 1910.07467
#pragma once

#include <span>

namespace fastcache::model {

// out[i] = x[i] / sqrt(mean(x^2) + eps) * weight[i]; x, weight, out: [n]. out may be x. The sum has one fixed
// order, so the result has the same bits wherever the row stands in a batch.
void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out);

}  // namespace fastcache::model
