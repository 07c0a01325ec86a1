// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"

namespace fastcache::engine {

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdOfEquals) {
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(std::vector<float>{0.0f, 3.0f, 1.0f, 3.0f}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-5.0f, -3.0f}), 1);
}

TEST(Sampler, ASeedGivesTheSameTokens) {
  const std::vector<float> logits(100, 0.0f);
  const auto draw = [&](uint32_t seed) {
    Sampler sampler({.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f, .seed = seed});
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, FrequenciesFollowTheSoftmax) {
  const std::vector<float> logits{std::log(0.7f), std::log(0.2f), std::log(0.1f)};
  Sampler sampler({.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f, .seed = 3});
  std::map<int32_t, int> counts;
  const int n = 20000;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits)];
  EXPECT_NEAR(counts[0] / double{n}, 0.7, 0.02);  // five standard deviations are 0.016
  EXPECT_NEAR(counts[1] / double{n}, 0.2, 0.02);
}

TEST(Sampler, TopKNeverLeavesTheBest) {
  std::vector<float> logits(1000, 0.0f);
  logits[5] = logits[700] = 1.0f;
  Sampler sampler({.temperature = 5.0f, .top_k = 2, .top_p = 1.0f, .min_p = 0.0f, .seed = 4});
  for (int i = 0; i < 200; ++i) {
    const int32_t token = sampler.sample(logits);
    EXPECT_TRUE(token == 5 || token == 700) << token;
  }
}

TEST(Sampler, AbsurdParametersAreRefusedByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const SamplingParams& params :
       {SamplingParams{.temperature = -1.0f}, SamplingParams{.temperature = nan}, SamplingParams{.top_k = -1},
        SamplingParams{.top_p = 1.5f}, SamplingParams{.min_p = nan}}) {
    try {
      Sampler sampler(params);
      FAIL() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
    }
  }
}

TEST(Sampler, LogitsThatAreNoNumbersAreRefused) {
  std::vector<float> logits(1000, 1.0f);
  for (const float temperature : {0.0f, 1.0f}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      logits[500] = bad;
      Sampler sampler({.temperature = temperature});
      EXPECT_THROW(sampler.sample(logits), Error);
    }
  }
}

TEST(Sampler, ATemperatureTooSmallToDivideByIsGreedy) {
  std::vector<float> logits(1000, 1e3f);
  logits[700] = 2e3f;
  EXPECT_EQ(Sampler({.temperature = 1e-38f}).sample(logits), 700);
  EXPECT_EQ(Sampler({.temperature = 1e-4f}).sample(logits), 700);
}

}  // namespace fastcache::engine
