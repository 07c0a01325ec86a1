// SPDX-License-Identifier: Apache-2.0
#include "bench/serving_load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/test_seed.h"

namespace fastcache::bench {
namespace {

// Mean and variance of the gaps, each within six standard errors (excess kurtosis of a gamma: 6 / shape).
TEST(ServingLoad, ArrivalsHaveTheAskedRateAndBurstiness) {
  constexpr double kGaps = 50'000;
  for (const double rate : {0.5, 200.0}) {
    for (const double shape : {0.5, 1.0, 4.0}) {
      const std::vector<double> times = arrival_times_ms({.requests = static_cast<int>(kGaps) + 1,
                                                          .rate_per_s = rate,
                                                          .burstiness = shape,
                                                          .seed = test_seed()});
      EXPECT_EQ(times.front(), 0);
      EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
      const double mean = times.back() / kGaps, expected = 1e3 / rate;
      EXPECT_NEAR(mean, expected, expected * 6 / std::sqrt(kGaps * shape)) << rate << ", " << shape;
      double variance = 0;
      for (size_t i = 1; i < times.size(); ++i)
        variance += (times[i] - times[i - 1] - mean) * (times[i] - times[i - 1] - mean) / kGaps;
      const double expected_variance = expected * expected / shape;
      EXPECT_NEAR(variance, expected_variance, expected_variance * 6 * std::sqrt((2 + 6 / shape) / kGaps))
          << rate << ", " << shape;
    }
  }
}

TEST(ServingLoad, ARateOfZeroOrInfinityIsAllAtOnce) {
  for (const double rate : {0.0, std::numeric_limits<double>::infinity()})
    EXPECT_EQ(arrival_times_ms({.requests = 5, .rate_per_s = rate}), std::vector<double>(5, 0.0));
}

TEST(ServingLoad, PromptsShareThePrefixAndNothingElse) {
  ServingLoad load{.requests = 20, .prompt_tokens = 50, .shared_prefix_tokens = 30, .n_vocab = 1000};
  load.seed = test_seed();
  const auto prompts = random_prompts(load);
  ASSERT_EQ(prompts.size(), 20u);
  for (size_t i = 0; i < prompts.size(); ++i) {
    ASSERT_EQ(prompts[i].size(), 50u);
    for (int32_t token : prompts[i]) EXPECT_TRUE(token >= 0 && token < 1000);
    EXPECT_TRUE(std::equal(prompts[i].begin(), prompts[i].begin() + 30, prompts[0].begin()));
    for (size_t j = 0; j < i; ++j)
      EXPECT_FALSE(std::equal(prompts[i].begin() + 30, prompts[i].end(), prompts[j].begin() + 30));
  }
  ServingLoad other = load;
  other.rate_per_s = 3;
  EXPECT_EQ(random_prompts(other), prompts) << "the rate must not change the prompts";
  other.seed ^= uint64_t{1} << 40;
  EXPECT_NE(random_prompts(other), prompts);
}

TEST(ServingLoad, RefusesWhatCannotBeDrawn) {
  const ServingLoad good{.requests = 1, .prompt_tokens = 10, .shared_prefix_tokens = 10, .n_vocab = 10};
  check(good);
  const auto refused = [&](auto change) {
    ServingLoad wrong = good;
    change(wrong);
    try {
      check(wrong);
    } catch (const Error& error) {
      return error.code() == Code::bad_request;
    }
    return false;
  };
  EXPECT_TRUE(refused([](ServingLoad& load) { load.requests = 0; }));
  EXPECT_TRUE(refused([](ServingLoad& load) { load.prompt_tokens = 0; }));
  EXPECT_TRUE(refused([](ServingLoad& load) { load.shared_prefix_tokens = 11; }));
  EXPECT_TRUE(refused([](ServingLoad& load) { load.shared_prefix_tokens = -1; }));
  for (const double rate : {-1.0, 1e-9, -std::numeric_limits<double>::infinity(), std::nan("")})
    EXPECT_TRUE(refused([&](ServingLoad& load) { load.rate_per_s = rate; })) << rate;
  for (const double shape : {-1.0, 0.0, 1e9, std::nan("")})
    EXPECT_TRUE(refused([&](ServingLoad& load) { load.burstiness = shape; })) << shape;
}

}  // namespace
}  // namespace fastcache::bench
