// SPDX-License-Identifier: Apache-2.0
// Compression during decoding that is cancelled, finds no pages or cannot be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/testing/decoding_fixture.h"

namespace fastcache::engine {
namespace {

using test_support::chat_by_hand;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

using StepLoopDecodingScarcity = test_support::DecodingTest;

TEST_F(StepLoopDecodingScarcity, CancellationAndDeadlinesAtAnyStep) {
  const Request one = request("snapkv(window=8)", 60, 1, 60, 30, 8);
  const std::vector<int32_t> expected = chat_by_hand(model_, {one})[0].answer;
  for (int steps_before = 0; steps_before < 70; ++steps_before)
    for (const bool by_deadline : {false, true}) {
      LoopDriver driver(model_.model, model_.compute, options(300));
      Request made = one;
      if (by_deadline) made.deadline_ms = steps_before + 0.5;
      driver.submit(made);
      for (int step = 0; step < steps_before; ++step) driver.step();
      if (!by_deadline) driver.cancel(0);
      for (int step = 0; step < 3; ++step) driver.step();
      const auto& answer = driver.collect(0).answers[0];
      ASSERT_TRUE(driver.collect(0).ended) << steps_before;
      EXPECT_FALSE(driver.loop().has_work());
      if (answer.finish != Finish::length) {
        EXPECT_EQ(answer.finish, by_deadline ? Finish::deadline : Finish::cancelled);
      }
      EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), expected.begin()));
      expect_empty(driver);
    }
}

// With forks and cached prompts that own the pages too, so that commits need new ones.
TEST_F(StepLoopDecodingScarcity, AnyOneAllocationMayFail) {
  std::vector<Request> requests{request("knorm", 60, 1, 30, 30, 8),
                                request("snapkv(window=4)", 60, 1, 20, 24, 5),
                                request("adakv(random)", 50, 3, 20, 20, 6)};
  requests[0].n = 2;
  std::vector<std::vector<test_support::CollectedAnswer>> alone;
  for (const Request& made : requests) alone.push_back(run_alone(model_.model, model_.compute, made).answers);
  for (const int pool_tokens : {500, 100}) {
    int64_t n_faults = 0;
    for (bool came_to_it = true; came_to_it; ++n_faults) {
      SCOPED_TRACE(testing::Message() << "pool of " << pool_tokens << " tokens, allocation " << n_faults);
      kv::AllocationFaults faults;
      DriverOptions with_faults = options(pool_tokens);
      with_faults.faults = &faults;
      LoopDriver driver(model_.model, model_.compute, with_faults);
      faults.fail_after(n_faults);
      for (const Request& made : requests) driver.submit(made);
      for (int step = 0; driver.loop().has_work(); ++step) {
        ASSERT_LT(step, 20'000);
        driver.step();
        driver.loop().check();
      }
      came_to_it = !faults.armed();
      for (size_t i = 0; i < requests.size(); ++i)
        ASSERT_EQ(driver.collect(static_cast<int>(i)).answers, alone[i]) << i;
      expect_empty(driver);
    }
    EXPECT_GT(n_faults, 15) << "too few allocations to mean anything";
  }
}

TEST_F(StepLoopDecodingScarcity, TheContextCountsTokensNotRows) {
  LoopDriver driver(model_.model, model_.compute, options(300));
  const int id = driver.submit(request("knorm", 24, 1, 5'000, 32, 16));
  driver.run_to_the_end(10'000);
  EXPECT_EQ(driver.collect(id).answers[0].finish, Finish::length);
  EXPECT_EQ(driver.collect(id).answers[0].tokens.size(), 1'000u);
}

TEST_F(StepLoopDecodingScarcity, WhatCannotBeIsRefusedWhenItComesIn) {
  LoopDriver driver(model_.model, model_.compute, options(300));
  const std::pair<const char*, const char*> cases[] = {
      {"decoding(expected_attention(budget=20))", "which looks at all queries"},
      {"decoding(observed_attention(budget=20))", "which looks at all queries"},
      {"decoding(criticalkv(expected_attention(budget=20)))", "which looks at all queries"},
      {"decoding(knorm(ratio=0.5))", "takes a budget"},
      {"decoding(knorm)", "set budget"},
      {"decoding(knorm(budget=0))", "at least 1 row"},
      {"decoding(knorm(budget=20), every=0)", "every = 0"},
      {"decoding(composed(knorm(budget=20), tova(budget=10)))", "takes no budget"},
      {"decoding(none, budget=20)", "takes no budget"},
      {"decoding(decoding(knorm(budget=20)))", "must stand outermost"},
      {"composed(knorm(ratio=0.5), decoding(tova(budget=10)))", "must stand outermost"},
      {"adakv(decoding(knorm(budget=20)))", "must stand outermost"},
  };
  for (const auto& [press, sentence] : cases) {
    Request made = LoopModel::request(50, 1, 10);
    made.compression.press = press;
    try {
      driver.submit(made);
      ADD_FAILURE() << press << " was taken";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(sentence)) << press;
    }
  }
  EXPECT_FALSE(driver.loop().has_work());
}

// What it will hold between two compressions does not fit, though its prompt does.
TEST_F(StepLoopDecodingScarcity, ABudgetBeyondThePoolIsRefusedAndOthersGoOn) {
  LoopDriver driver(model_.model, model_.compute, options(128));
  const int too_much = driver.submit(request("knorm", 40, 1, 500, 100, 64));
  const int short_one = driver.submit(request("knorm", 40, 1, 50, 100, 64));  // ends before it gets there
  const int good = driver.submit(request("knorm", 40, 1, 500, 64, 32));
  driver.run_to_the_end(20'000);
  EXPECT_THAT(driver.collect(too_much).error, testing::HasSubstr("164 rows per head"));
  EXPECT_EQ(driver.collect(short_one).answers[0].tokens.size(), 50u);
  EXPECT_EQ(driver.collect(good).answers[0].tokens.size(), 500u);
  expect_empty(driver);
}

}  // namespace
}  // namespace fastcache::engine
