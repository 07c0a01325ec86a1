// SPDX-License-Identifier: Apache-2.0
#include "eval/interval.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "base/test_seed.h"

namespace fastcache::eval {
namespace {

TEST(Interval, ValueIsTheRatioOfSums) {
  const std::vector<double> tops{1, 2, 3}, bottoms{4, 4, 2};
  const Interval interval = ratio_of_sums(tops, bottoms, 1);
  EXPECT_DOUBLE_EQ(interval.value, 0.6);
  EXPECT_GE(interval.low, 0.25);  // no draw is below the worst sample
  EXPECT_LE(interval.high, 1.5);
  EXPECT_LE(interval.low, 0.6);
  EXPECT_GE(interval.high, 0.6);
}

// The bootstrap of a mean of n normal values is as wide as theory says: 2 * 1.96 / sqrt(n).
TEST(Interval, WidthOfAMeanIsTheTextbooks) {
  std::mt19937_64 random(test_seed());
  std::normal_distribution<double> normal(3.0, 1.0);
  double width = 0;
  constexpr int kRepeats = 40, kSamples = 100;
  for (int i = 0; i < kRepeats; ++i) {
    std::vector<double> values(kSamples);
    for (double& value : values) value = normal(random);
    const Interval interval = mean(values, static_cast<uint64_t>(i));
    width += (interval.high - interval.low) / kRepeats;
  }
  EXPECT_NEAR(width, 2 * 1.96 / std::sqrt(kSamples), 0.06);
}

TEST(Interval, OneSampleSaysNothingOfTheSpread) {
  const std::vector<double> one{0.5};
  const Interval interval = mean(one, 1);
  EXPECT_EQ(interval.value, 0.5);
  EXPECT_TRUE(std::isnan(interval.low));
  EXPECT_TRUE(std::isnan(interval.high));
}

TEST(Interval, ValuesOfAGroupAreOneSample) {
  // Ten pictures with eight equal answers each tell as much as ten answers.
  std::vector<double> values, alone;
  std::vector<size_t> groups;
  for (size_t group = 0; group < 10; ++group) {
    alone.push_back(group < 6 ? 1.0 : 0.0);
    values.insert(values.end(), 8, alone.back());
    groups.insert(groups.end(), 8, group);
  }
  const Interval grouped = mean_of_groups(values, groups, 3), wanted = mean(alone, 3);
  EXPECT_DOUBLE_EQ(grouped.value, wanted.value);
  EXPECT_DOUBLE_EQ(grouped.low, wanted.low);
  EXPECT_DOUBLE_EQ(grouped.high, wanted.high);
  EXPECT_LT(mean(values, 3).high, wanted.high);  // as if they were 80
}

TEST(Interval, WithoutAnythingToDivideBy) {
  const std::vector<double> tops{1, 2}, bottoms{0, 0};
  EXPECT_TRUE(std::isnan(ratio_of_sums(tops, bottoms, 1).value));
}

TEST(Interval, SameSeedSameInterval) {
  const std::vector<double> values{1, 5, 2, 8, 3};
  EXPECT_EQ(mean(values, 7).low, mean(values, 7).low);
  EXPECT_EQ(mean(values, 7).high, mean(values, 7).high);
}

}  // namespace
}  // namespace fastcache::eval
