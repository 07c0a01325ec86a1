// SPDX-License-Identifier: Apache-2.0
// Preemption in states that random schedules seldom reach.
#include <gtest/gtest.h>

#include "engine/testing/compressed_chat.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::chat_by_hand;
using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

class StepLoopPreempt : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) { return test_support::greedy_options(pool_tokens); }

  static void expect_empty(LoopDriver& driver) {
    driver.loop().prefix_cache().clear();
    driver.loop().check();
    EXPECT_EQ(driver.pool().free_pages(), driver.pool().n_pages());
  }

  static Request next_turn(const Request& turn, const Collected& answer) {
    Request next = turn;
    next.tokens.insert(next.tokens.end(), answer.answers[0].tokens.begin(), answer.answers[0].tokens.end());
    const std::vector<int32_t> more = LoopModel::prompt(20, 77);
    next.tokens.insert(next.tokens.end(), more.begin(), more.end());
    return next;
  }

  LoopModel model_{512, 1};
};

TEST_F(StepLoopPreempt, APromptTooLargeForWhatIsFreeDisplacesSmallerPriority) {
  DriverOptions unshared = options(600);
  unshared.loop.prefix_cache = false;
  LoopDriver driver(model_.model, model_.compute, unshared);
  const int low = driver.submit(LoopModel::request(260, 1, 240));
  for (int step = 0; step < 20; ++step) driver.step();
  Request urgent = LoopModel::request(400, 2, 4);
  urgent.priority = 1;
  const int high = driver.submit(urgent);
  while (!driver.collect(high).ended) driver.step();
  EXPECT_FALSE(driver.collect(low).ended);
  EXPECT_LT(driver.collect(low).answers[0].tokens.size(), 40u) << "it went on instead";
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(low).summary.preemptions, 1);
  expect_empty(driver);
}

// Its first token was its end, the others wait for the compression's turn, and then the rows are taken away.
TEST_F(StepLoopPreempt, AnAnswerThatIsOverIsReplayedForItsSiblings) {
  bool seen = false;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Request request = LoopModel::compressed(60, 1, 12, "knorm", 0.5);
    request.n = 3;
    request.sampling.ignore_eos = false;
    request.sampling.temperature = 1.0f;
    request.sampling.seed = seed;
    request.sampling.logit_bias = {{.token = 2, .bias = 7.0f}};
    const Collected alone = run_alone(model_.model, model_.compute, request);
    if (!alone.answers[0].tokens.empty()) continue;
    if (alone.answers[1].tokens.empty() && alone.answers[2].tokens.empty()) continue;
    DriverOptions wide = options(280);
    wide.loop.step_tokens = 256;
    wide.loop.prefix_cache = false;
    LoopDriver driver(model_.model, model_.compute, wide);
    driver.submit(LoopModel::compressed(60, 2, 12, "knorm", 0.5));  // is compressed first
    driver.submit(request);
    while (!driver.collect(1).answers[0].finished) driver.step();
    Request urgent = LoopModel::request(200, 2, 4);
    urgent.priority = 3;
    driver.submit(urgent);
    driver.run_to_the_end(10'000);
    seen |= driver.collect(1).summary.preemptions > 0;
    EXPECT_EQ(driver.collect(1).answers, alone.answers) << "seed " << seed;
    expect_empty(driver);
  }
  EXPECT_TRUE(seen);
}

// An earlier turn's compressed rows that turn up later are not those that the answer began with.
TEST_F(StepLoopPreempt, AReplayDoesNotTakeUpACompressedPrefixThatItDidNotHave) {
  int n_telling = 0;
  for (int salt = 0; salt < 10; ++salt) {
    const Request first = LoopModel::compressed(100, salt, 12, "random", 0.8);
    Request second = next_turn(first, run_alone(model_.model, model_.compute, first));
    second.max_tokens = 60;
    const Collected alone = run_alone(model_.model, model_.compute, second);
    n_telling += chat_by_hand(model_, {first, second})[1].answer != alone.answers[0].tokens;
    DriverOptions two = options(1'000);
    two.loop.max_running = 2;
    LoopDriver driver(model_.model, model_.compute, two);
    const int cold = driver.submit(second);
    while (driver.collect(cold).answers[0].tokens.size() < 5) driver.step();
    driver.loop().prefix_cache().clear();  // its plain rows would be the longer prefix
    const int earlier_turn = driver.submit(first);
    while (!driver.collect(earlier_turn).ended) driver.step();
    Request urgent = LoopModel::request(20, 9, 2);
    urgent.n = 2;
    urgent.priority = 5;
    driver.submit(urgent);
    driver.run_to_the_end(10'000);
    EXPECT_GT(driver.collect(cold).summary.preemptions, 0);
    EXPECT_EQ(driver.collect(cold).answers[0].tokens, alone.answers[0].tokens);
    expect_empty(driver);
  }
  EXPECT_GT(n_telling, 0) << "compressed or not, the tokens are the same";
}

TEST_F(StepLoopPreempt, AReplayBeginsWithTheCompressedPrefixThatItHad) {
  Request first = LoopModel::compressed(100, 1, 12, "knorm", 0.8);
  DriverOptions one = options(1'000);
  one.loop.max_running = 1;
  LoopDriver driver(model_.model, model_.compute, one);
  driver.submit(first);
  driver.run_to_the_end();
  Request second = next_turn(first, driver.collect(0));
  second.max_tokens = 60;
  const int warm = driver.submit(second);
  while (driver.collect(warm).answers[0].tokens.size() < 5) driver.step();
  Request urgent = LoopModel::request(20, 9, 2);
  urgent.priority = 5;
  driver.submit(urgent);
  driver.run_to_the_end(10'000);
  EXPECT_GT(driver.collect(warm).summary.preemptions, 0);
  EXPECT_EQ(driver.collect(warm).answers[0].tokens, chat_by_hand(model_, {first, second})[1].answer);
  expect_empty(driver);
}

}  // namespace
}  // namespace fastcache::engine
