// SPDX-License-Identifier: Apache-2.0
// How sure a mean is: bootstrap over documents or examples. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fastcache::eval {

struct Interval {
  double value = 0;
  double low = 0, high = 0;  // 95 %; NaN where one sample says nothing of the spread
};

constexpr int kResamples = 2000;

// sum(numerators) / sum(denominators), both [n samples], n >= 1; the interval is that of drawing n samples
// with replacement, kResamples times. NaN where the denominators' sum is not above 0.
Interval ratio_of_sums(std::span<const double> numerators, std::span<const double> denominators,
                       uint64_t seed);

Interval mean(std::span<const double> values, uint64_t seed);

// The mean of values that come in groups, such as questions about one picture: the interval is that of
// drawing groups. groups: [values], equal numbers stand side by side.
Interval mean_of_groups(std::span<const double> values, std::span<const size_t> groups, uint64_t seed);

}  // namespace fastcache::eval
