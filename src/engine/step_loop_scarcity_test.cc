// SPDX-License-Identifier: Apache-2.0
// No pages, at any place and for any length of time: the same tokens, an end, and then an empty pool.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::Collected;
using test_support::CollectedAnswer;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

using Answers = std::vector<std::vector<CollectedAnswer>>;  // [request][answer]

class StepLoopScarcity : public testing::Test {
 protected:
  DriverOptions options(int pool_tokens) const { return test_support::greedy_options(pool_tokens); }

  // Compression with a first token for each of three answers, forks, a prefix that two share.
  static std::vector<Request> some_of_each() {
    std::vector<Request> requests{LoopModel::compressed(70, 1, 12, "knorm", 0.6),
                                  LoopModel::request(40, 2, 12), LoopModel::request(70, 1, 6),
                                  LoopModel::compressed(50, 3, 12, "test_uneven", 0.5)};
    requests[1].n = 3;
    requests[3].n = 3;
    return requests;
  }

  // All requests, one each few steps, with check() after every step.
  void run(LoopDriver& driver, const std::vector<Request>& requests) {
    size_t n_submitted = 0;
    for (int step = 0; n_submitted < requests.size() || driver.loop().has_work(); ++step) {
      ASSERT_LT(step, 20'000) << "the loop does not come to its end";
      if (step % 4 == 0 && n_submitted < requests.size()) driver.submit(requests[n_submitted++]);
      driver.step();
      driver.loop().check();
    }
  }

  static Answers answers(LoopDriver& driver, size_t n_requests) {
    Answers all;
    for (size_t i = 0; i < n_requests; ++i) all.push_back(driver.collect(static_cast<int>(i)).answers);
    return all;
  }

  Answers all_alone(const std::vector<Request>& requests) {
    Answers all;
    for (const Request& request : requests)
      all.push_back(run_alone(model_.model, model_.compute, request).answers);
    return all;
  }

  static void expect_empty(LoopDriver& driver) {
    driver.loop().prefix_cache().clear();
    driver.loop().check();
    EXPECT_EQ(driver.pool().free_pages(), driver.pool().n_pages());
  }

  bool run_and_cancel(int pool_tokens, int victim, int at_step, const Answers& alone);

  LoopModel model_{512, 1};
};

TEST_F(StepLoopScarcity, AnyOneAllocationMayFail) {
  const std::vector<Request> requests = some_of_each();
  const Answers alone = all_alone(requests);
  for (const int pool_tokens : {1'000, 170}) {
    int64_t n_faults = 0;
    for (bool came_to_it = true; came_to_it; ++n_faults) {
      SCOPED_TRACE(testing::Message() << "pool of " << pool_tokens << " tokens, allocation " << n_faults);
      kv::AllocationFaults faults;
      DriverOptions with_faults = options(pool_tokens);
      with_faults.faults = &faults;
      LoopDriver driver(model_.model, model_.compute, with_faults);
      faults.fail_after(n_faults);
      ASSERT_NO_FATAL_FAILURE(run(driver, requests));
      came_to_it = !faults.armed();
      ASSERT_EQ(answers(driver, requests.size()), alone);
      expect_empty(driver);
    }
    EXPECT_GT(n_faults, 15) << "too few allocations to mean anything";
  }
}

// False: the victim had ended before that step.
bool StepLoopScarcity::run_and_cancel(int pool_tokens, int victim, int at_step, const Answers& alone) {
  const std::vector<Request> requests = some_of_each();
  LoopDriver driver(model_.model, model_.compute, options(pool_tokens));
  for (const Request& request : requests) driver.submit(request);
  bool in_time = false;
  for (int step = 0; driver.loop().has_work() && step < 2'000; ++step) {
    if (step == at_step) {
      in_time = !driver.result(victim).ended;
      driver.cancel(victim);
    }
    driver.step();
    driver.loop().check();
    EXPECT_TRUE(step != at_step || driver.collect(victim).ended) << "cancelled, but goes on";
  }
  for (int i = 0; i < static_cast<int>(requests.size()); ++i) {
    const Collected& here = driver.collect(i);
    EXPECT_TRUE(here.ended);
    EXPECT_EQ(here.error, "");
    for (size_t a = 0; a < here.answers.size(); ++a) {
      CollectedAnswer expected = alone[static_cast<size_t>(i)][a];
      EXPECT_TRUE(here.answers[a].finished);
      if (i == victim && here.answers[a].finish == Finish::cancelled) {
        expected.tokens.resize(std::min(expected.tokens.size(), here.answers[a].tokens.size()));
        EXPECT_EQ(here.answers[a].tokens, expected.tokens);
      } else {
        EXPECT_EQ(here.answers[a], expected);
      }
    }
  }
  expect_empty(driver);
  return in_time;
}

TEST_F(StepLoopScarcity, CancellationAtEveryStep) {
  const Answers alone = all_alone(some_of_each());
  for (int victim = 0; victim < static_cast<int>(alone.size()); ++victim) {
    bool in_time = true;
    int at_step = 0;
    for (; in_time && !HasFailure(); ++at_step) {
      SCOPED_TRACE(testing::Message() << "request " << victim << " at step " << at_step);
      in_time = run_and_cancel(170, victim, at_step, alone);
    }
    EXPECT_GT(at_step, 8) << "request " << victim << " was hardly there";
  }
}

TEST_F(StepLoopScarcity, HundredsOfRequestsThroughAPoolThatHoldsTwo) {
  for (const char* policy : {"dynamic", "fcfs"}) {
    DriverOptions small = options(2 * 112);
    small.loop.policy = policy;
    LoopDriver driver(model_.model, model_.compute, small);
    constexpr int kRequests = 200;
    std::vector<Request> kinds;
    for (int i = 0; i < 12; ++i) {
      kinds.push_back(i % 3 == 0 ? LoopModel::compressed(90, i, 20, "knorm", 0.7)
                                 : LoopModel::request(60 + i * 2, i / 2, 25));
      if (i % 6 == 5) kinds.back().n = 2;
    }
    const Answers alone = all_alone(kinds);
    for (int i = 0; i < kRequests; ++i) driver.submit(kinds[static_cast<size_t>(i) % kinds.size()]);
    for (int step = 0; driver.loop().has_work(); ++step) {
      ASSERT_LT(step, 200'000);
      driver.step();
      if (step % 16 == 0) driver.loop().check();
    }
    for (int i = 0; i < kRequests; ++i)
      ASSERT_EQ(driver.collect(i).answers, alone[static_cast<size_t>(i) % kinds.size()]) << i;
    EXPECT_GT(driver.loop().stats().preemptions, 0) << policy;
    expect_empty(driver);
  }
}

TEST_F(StepLoopScarcity, WhatThePoolCanNeverHoldIsRefusedAndOthersGoOn) {
  LoopDriver driver(model_.model, model_.compute, options(128));
  const int before = driver.submit(LoopModel::request(60, 1, 20));
  const int too_long = driver.submit(LoopModel::request(300, 2, 20));
  Request forks = LoopModel::request(100, 3, 20);
  forks.n = 4;
  const int too_wide = driver.submit(forks);
  const int after = driver.submit(LoopModel::request(60, 4, 20));
  driver.run_to_the_end(10'000);
  for (const int refused : {too_long, too_wide}) {
    const std::string& sentence = driver.collect(refused).error;
    EXPECT_THAT(sentence, testing::HasSubstr("do not fit into the KV pool"));
    EXPECT_EQ(std::count(sentence.begin(), sentence.end(), '\n'), 0);
  }
  for (const int went_on : {before, after}) {
    EXPECT_EQ(driver.collect(went_on).error, "");
    EXPECT_EQ(driver.collect(went_on).answers[0].tokens.size(), 20u);
  }
  expect_empty(driver);
}

// Nothing is free, every page has several owners: answers, their prompts in the cache, other answers.
TEST_F(StepLoopScarcity, CompressionInAFullPoolWithForksAndSharedPrefixes) {
  for (int pool_tokens = 112; pool_tokens <= 400; pool_tokens += 16) {
    SCOPED_TRACE(testing::Message() << "pool of " << pool_tokens << " tokens");
    DriverOptions full = options(pool_tokens);
    full.reserve_pages = 0;
    full.pool_bytes -= LoopModel::kReservePages * LoopModel::page_bytes();
    LoopDriver driver(model_.model, model_.compute, full);
    // Biases take pages beside those of the rows.
    const std::vector<std::string> presses{"knorm", "test_uneven",
                                           pool_tokens >= 192 ? "test_merging" : "random"};
    std::vector<Request> requests;
    for (int i = 0; i < 8; ++i) {
      requests.push_back(i % 4 == 3 ? LoopModel::request(80, 1, 20)
                                    : LoopModel::compressed(80, 1, 20, presses[static_cast<size_t>(i % 3)],
                                                            i % 4 == 2 ? 0.1 : 0.5));
      if (i % 3 == 1 && pool_tokens >= 192) requests.back().n = 2;
    }
    ASSERT_NO_FATAL_FAILURE(run(driver, requests));
    ASSERT_EQ(answers(driver, requests.size()), all_alone(requests));
    expect_empty(driver);
  }
}

}  // namespace
}  // namespace fastcache::engine
