// SPDX-License-Identifier: Apache-2.0
// Presses that read the prompt a second time: the passes are steps like any others, and leave nothing behind
// but what the press saw.
#include <gtest/gtest.h>

#include "base/error.h"
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

class StepLoopSecondPass : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens, int step_tokens) {
    return test_support::loop_options(pool_tokens, step_tokens);
  }
  static Request request(int n_prompt, int salt, int max_tokens, int part, double ratio = 0.7) {
    Request made = LoopModel::compressed(n_prompt, salt, max_tokens, "test_second_pass", ratio);
    made.compression.parameters["part"] = part;
    return made;
  }
  static void expect_empty(LoopDriver& driver) {
    driver.loop().check();
    driver.loop().prefix_cache().clear();
    const EngineStats stats = driver.loop().stats();
    EXPECT_EQ(stats.free_bytes, stats.pool_bytes);
    EXPECT_EQ(stats.query_bytes, 0u);
  }

  LoopModel model_{1'024, 1};
};

TEST_F(StepLoopSecondPass, RowsThatStayAreThoseOfPlainLoops) {
  for (const auto& [n_prompt, part] : {std::pair{200, 64}, {200, 1'000}, {65, 64}, {1, 64}}) {
    const Request asked = request(n_prompt, 1, 25, part);
    const auto by_hand = chat_by_hand(model_, {asked});
    for (const int step_tokens : {7, 33, 512}) {
      LoopDriver driver(model_.model, model_.compute, options(1'000, step_tokens));
      driver.submit(asked);
      driver.submit(LoopModel::request(90, 2, 20));
      driver.run_to_the_end();
      EXPECT_EQ(driver.collect(0).answers[0].tokens, by_hand[0].answer) << n_prompt << " by " << step_tokens;
      EXPECT_EQ(driver.collect(0).summary.rows_after_compression, by_hand[0].rows_after);
      EXPECT_EQ(driver.collect(1).answers,
                run_alone(model_.model, model_.compute, LoopModel::request(90, 2, 20)).answers);
      expect_empty(driver);
    }
  }
}

// What the passes see must matter to the tokens, or the tests of equal answers could not fail.
TEST_F(StepLoopSecondPass, TheRowsThatStayDependOnWhatIsReadAgain) {
  int n_telling = 0;
  for (int salt = 0; salt < 8; ++salt)
    n_telling += run_alone(model_.model, model_.compute, request(300, salt, 25, 10)).answers !=
                 run_alone(model_.model, model_.compute, request(300, salt, 25, 1'000)).answers;
  EXPECT_GT(n_telling, 0);
}

TEST_F(StepLoopSecondPass, TheFirstTokenLeavesBeforeItAndItsTokensCountInTheSteps) {
  LoopDriver driver(model_.model, model_.compute, options(1'000, 50));
  driver.submit(request(200, 1, 10, 100));
  while (driver.collect(0).answers[0].tokens.empty()) driver.step();
  int n_steps = 0;
  while (driver.loop().stats().compressing == 0) {
    EXPECT_GT(driver.loop().stats().query_bytes, 0u);
    EXPECT_EQ(driver.loop().stats().prefilling, 1);
    driver.step();
    ++n_steps;
  }
  EXPECT_GE(n_steps, 4);  // more than 200 tokens, 50 in a step
  EXPECT_LE(n_steps, 8);
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(0).summary.rows_after_compression, 4u * 60);
  expect_empty(driver);
}

// The prompt's rows come out of the cache; the passes' queries are computed all the same.
TEST_F(StepLoopSecondPass, ACachedPrefixChangesNothing) {
  const Request asked = request(304, 3, 25, 80);
  Request plain = asked;
  plain.compression = {};
  LoopDriver driver(model_.model, model_.compute, options(1'000, 128));
  driver.submit(plain);
  driver.run_to_the_end();
  const int warm = driver.submit(asked);
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(warm).summary.cached_tokens, 288);
  EXPECT_EQ(driver.collect(warm).answers, run_alone(model_.model, model_.compute, asked).answers);
  expect_empty(driver);
}

TEST_F(StepLoopSecondPass, ForksStartFromTheCompressedRows) {
  Request asked = request(150, 1, 20, 40);
  asked.n = 3;
  asked.sampling.temperature = 0.9f;
  const Collected alone = run_alone(model_.model, model_.compute, asked);
  LoopDriver driver(model_.model, model_.compute, options(1'000, 33));
  driver.submit(LoopModel::request(100, 2, 30));
  driver.submit(asked);
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(1).answers, alone.answers);
  expect_empty(driver);
}

TEST_F(StepLoopSecondPass, PreemptedInEachStepItEndsTheSame) {
  const Request asked = request(200, 1, 40, 50);
  const Collected alone = run_alone(model_.model, model_.compute, asked);
  int n_in_a_pass = 0;
  for (int steps_before = 1; steps_before < 16; ++steps_before) {
    LoopDriver driver(model_.model, model_.compute, options(320, 40));
    driver.submit(asked);
    for (int step = 0; step < steps_before; ++step) driver.step();
    n_in_a_pass += driver.loop().stats().prefilling == 1 && !driver.collect(0).answers[0].tokens.empty();
    Request urgent = LoopModel::request(290, 2, 4);
    urgent.priority = 2;
    driver.submit(urgent);
    driver.run_to_the_end(10'000);
    EXPECT_EQ(driver.collect(0).summary.preemptions, 1) << "after " << steps_before << " steps";
    EXPECT_EQ(driver.collect(0).answers, alone.answers) << "after " << steps_before << " steps";
    expect_empty(driver);
  }
  EXPECT_GE(n_in_a_pass, 4);
}

TEST_F(StepLoopSecondPass, CancelledInEachStepItLeavesNothing) {
  for (int steps_before = 1; steps_before < 16; ++steps_before) {
    LoopDriver driver(model_.model, model_.compute, options(1'000, 40));
    const int id = driver.submit(request(200, 1, 40, 50));
    for (int step = 0; step < steps_before; ++step) driver.step();
    driver.cancel(id);
    driver.run_to_the_end();
    driver.loop().check();
    Request plain = LoopModel::request(230, 1, 10);  // its prefix is what the cache remembers of the other
    driver.submit(plain);
    driver.run_to_the_end();
    EXPECT_EQ(driver.collect(id + 1).answers, run_alone(model_.model, model_.compute, plain).answers);
    expect_empty(driver);
  }
}

// Prompt and pass fill the pool to the last page.
TEST_F(StepLoopSecondPass, APoolThatJustHoldsAPassIsEnough) {
  const Request asked = request(100, 1, 10, 1'000);
  const Collected alone = run_alone(model_.model, model_.compute, asked);
  int least = 0;
  for (int pool_tokens = 112; pool_tokens <= 256; pool_tokens += 16) {
    LoopDriver driver(model_.model, model_.compute, options(pool_tokens, 64));
    driver.submit(asked);
    driver.run_to_the_end(10'000);
    if (!driver.collect(0).error.empty()) continue;
    if (least == 0) least = pool_tokens;
    EXPECT_EQ(driver.collect(0).answers, alone.answers) << pool_tokens;
    expect_empty(driver);
  }
  EXPECT_GT(least, 200);
  EXPECT_LE(least, 224);
}

TEST_F(StepLoopSecondPass, APassThatTheContextDoesNotHoldIsRefused) {
  LoopDriver driver(model_.model, model_.compute, options(2'000, 64));
  EXPECT_THROW(driver.submit(request(600, 1, 10, 1'000)), Error);
  EXPECT_NO_THROW(driver.submit(request(600, 1, 10, 300)));
  driver.run_to_the_end();
}

}  // namespace
}  // namespace fastcache::engine
