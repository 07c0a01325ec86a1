// SPDX-License-Identifier: Apache-2.0
#include "engine/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"

namespace fastcache::engine {
namespace {

constexpr StepCosts kCosts{
    .fixed = 2, .per_prefill_token = 1, .per_decode_row = 1, .per_kv_row_read = 0, .per_compress_row = 0};

std::vector<int> share(const Policy& policy, int budget, const StepShape& decided,
                       std::vector<PrefillView> prompts) {
  std::vector<int> tokens(prompts.size());
  policy.share_prefill({budget, decided, prompts}, tokens);
  return tokens;
}

TEST(Policy, AnUnknownNameListsWhatExists) {
  try {
    make_policy("round_robin");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    for (const PolicyEntry& entry : policies()) EXPECT_THAT(error.what(), ::testing::HasSubstr(entry.name));
  }
  EXPECT_THROW(make_policy("dynamic", {.itl_target_ms = 0}), Error);
  EXPECT_THROW(make_policy("dynamic", {.min_prefill_tokens = 0}), Error);
}

TEST(Policy, KeepsTheContractOfShares) {
  std::mt19937_64 random(test_seed());
  for (const PolicyEntry& entry : policies())
    for (int run = 0; run < 2000; ++run) {
      const auto policy = make_policy(entry.name, {.itl_target_ms = 1.0 + random() % 100});
      EXPECT_STREQ(policy->name(), entry.name);
      std::vector<PrefillView> prompts(1 + random() % 5);
      for (PrefillView& p : prompts)
        p = {1 + static_cast<int>(random() % 90), static_cast<int>(random() % 900)};
      const int budget = 1 + static_cast<int>(random() % 100);
      const std::vector<int> tokens = share(*policy, budget, {.decode_rows = random() % 3 * 20.0}, prompts);
      ASSERT_LE(std::accumulate(tokens.begin(), tokens.end(), 0), budget);
      ASSERT_GE(tokens[0], 1);
      for (size_t i = 0; i < tokens.size(); ++i) {
        ASSERT_GE(tokens[i], 0);
        ASSERT_LE(tokens[i], prompts[i].tokens_left);
        if (i > 0 && tokens[i] > 0) {
          ASSERT_EQ(tokens[i - 1], prompts[i - 1].tokens_left) << "in order of rank";
        }
      }
    }
}

TEST(Policy, FcfsGivesAllThereIs) {
  const auto policy = make_policy("fcfs");
  EXPECT_EQ(share(*policy, 100, {.decode_rows = 50}, {{60, 0}, {60, 0}, {60, 0}}), (std::vector{60, 40, 0}));
}

TEST(Policy, DynamicFillsTheTargetAndNoMore) {
  const auto policy = make_policy("dynamic", {.itl_target_ms = 50, .min_prefill_tokens = 4, .prior = kCosts});
  EXPECT_EQ(share(*policy, 512, {.decode_rows = 8}, {{30, 0}, {300, 0}}),
            (std::vector{30, 10}));  // 2 + 8 + 40
  EXPECT_EQ(share(*policy, 20, {.decode_rows = 8}, {{300, 0}}), (std::vector{20}));
  EXPECT_EQ(share(*policy, 512, {.decode_rows = 60}, {{300, 0}}), (std::vector{4})) << "late anyhow";
  EXPECT_EQ(share(*policy, 512, {.decode_rows = 60}, {{1, 0}, {300, 0}}), (std::vector{1, 3}));
  EXPECT_EQ(share(*policy, 512, {}, {{300, 0}, {300, 0}}), (std::vector{300, 212})) << "nobody waits";
}

TEST(Policy, DynamicGoesByWhatItObserved) {
  const auto policy = make_policy("dynamic", {.itl_target_ms = 50, .min_prefill_tokens = 1, .prior = kCosts});
  for (int i = 0; i < 500; ++i) {  // prompts cost five times as much as believed
    const double n = 1 + i % 40, rows = i % 7;
    policy->observe({.prefill_tokens = n, .decode_rows = rows}, 2 + 5 * n + rows);
    policy->observe({.decode_rows = rows + 1}, 3 + rows);
  }
  EXPECT_EQ(share(*policy, 512, {.decode_rows = 8.5}, {{300, 0}}), (std::vector{7}));  // 2 + 8.5 + 35 <= 50
}

}  // namespace
}  // namespace fastcache::engine
