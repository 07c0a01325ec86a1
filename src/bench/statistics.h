// SPDX-License-Identifier: Apache-2.0
// Order statistics of measured values.
#pragma once

#include <vector>

namespace fastcache::bench {

double mean(const std::vector<double>& values);  // NaN for no values

// Linear interpolation between closest ranks, as numpy.percentile; NaN for no values. percent: 0 to 100.
double percentile(std::vector<double> values, double percent);

}  // namespace fastcache::bench
