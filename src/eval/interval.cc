// SPDX-License-Identifier: Apache-2.0
#include "eval/interval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace fastcache::eval {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double ratio(double numerator, double denominator) {
  return denominator > 0 ? numerator / denominator : kNan;
}

}  // namespace

Interval ratio_of_sums(std::span<const double> numerators, std::span<const double> denominators,
                       uint64_t seed) {
  const size_t n = numerators.size();
  double top = 0, bottom = 0;
  for (size_t i = 0; i < n; ++i) {
    top += numerators[i];
    bottom += denominators[i];
  }
  Interval interval{.value = ratio(top, bottom), .low = kNan, .high = kNan};
  if (n < 2) return interval;
  std::mt19937_64 random(seed);
  std::vector<double> ratios;
  for (int resample = 0; resample < kResamples; ++resample) {
    top = bottom = 0;
    for (size_t i = 0; i < n; ++i) {
      const size_t sample = random() % n;
      top += numerators[sample];
      bottom += denominators[sample];
    }
    if (bottom > 0) ratios.push_back(top / bottom);
  }
  if (ratios.empty()) return interval;
  std::sort(ratios.begin(), ratios.end());
  const auto quantile = [&](double q) {
    return ratios[static_cast<size_t>(std::lround(q * static_cast<double>(ratios.size() - 1)))];
  };
  interval.low = quantile(0.025);
  interval.high = quantile(0.975);
  return interval;
}

Interval mean(std::span<const double> values, uint64_t seed) {
  return ratio_of_sums(values, std::vector<double>(values.size(), 1.0), seed);
}

Interval mean_of_groups(std::span<const double> values, std::span<const size_t> groups, uint64_t seed) {
  std::vector<double> sums, counts;
  for (size_t i = 0; i < values.size(); ++i) {
    if (i == 0 || groups[i] != groups[i - 1]) {
      sums.push_back(0);
      counts.push_back(0);
    }
    sums.back() += values[i];
    ++counts.back();
  }
  return ratio_of_sums(sums, counts, seed);
}

}  // namespace fastcache::eval
