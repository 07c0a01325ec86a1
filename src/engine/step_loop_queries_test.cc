// SPDX-License-Identifier: Apache-2.0
// Presses that look at queries, in the engine: the same queries and so the same rows however the prompt was
// computed, and memory for them only as long as they are needed.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

class StepLoopQueries : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens, int step_tokens) {
    return test_support::loop_options(pool_tokens, step_tokens);
  }

  static Request snapkv(int n_prompt, int salt, int max_tokens, int window = 64) {
    Request made = LoopModel::compressed(n_prompt, salt, max_tokens, "snapkv", 0.7);
    made.compression.parameters["window"] = window;
    return made;
  }
  // Of `window` tokens: 4 heads of 16 channels in 2 layers.
  static size_t bytes_of(int window) { return 2 * 4 * 16 * sizeof(float) * static_cast<size_t>(window); }

  LoopModel model_{1'024, 1};
};

TEST_F(StepLoopQueries, AnyChunkingGivesTheSameAnswer) {
  for (const int n_prompt : {300, 64, 20, 1}) {
    const Request request = snapkv(n_prompt, 1, 25);
    const Collected alone = run_alone(model_.model, model_.compute, request);
    for (const int step_tokens : {7, 33, 64, 512}) {
      LoopDriver driver(model_.model, model_.compute, options(1'000, step_tokens));
      driver.submit(request);
      driver.submit(LoopModel::request(90, 2, 20));
      driver.run_to_the_end();
      EXPECT_EQ(driver.collect(0).answers, alone.answers) << n_prompt << " tokens by " << step_tokens;
    }
  }
}

TEST_F(StepLoopQueries, StatisticsOfAllQueriesAreThoseOfThePromptComputedAtOnce) {
  for (const auto& [n_prompt, press] : {std::pair{300, "expected_attention"},
                                        {5, "expected_attention"},
                                        {3, "expected_attention"},
                                        {300, "observed_attention"}}) {
    const Request request = LoopModel::compressed(n_prompt, 1, 25, press, 0.7);
    const Collected alone = run_alone(model_.model, model_.compute, request);
    for (const int step_tokens : {7, 64}) {
      LoopDriver driver(model_.model, model_.compute, options(1'000, step_tokens));
      Request plain = request;  // its rows are in the cache, but they bring no queries
      plain.compression = {};
      driver.submit(plain);
      driver.run_to_the_end();
      const int warm = driver.submit(request);
      driver.run_to_the_end();
      EXPECT_EQ(driver.collect(warm).answers, alone.answers) << n_prompt << " tokens by " << step_tokens;
      EXPECT_EQ(driver.collect(warm).summary.cached_tokens, 0);
      EXPECT_EQ(driver.loop().stats().query_bytes, 0u);
    }
  }
}

// What the press decides must matter to the tokens, or the tests of equal answers could not fail.
TEST_F(StepLoopQueries, TheRowsThatStayAreOthersThanThoseOfAnotherPress) {
  int n_telling = 0;
  for (int salt = 0; salt < 8; ++salt) {
    Request other = snapkv(300, salt, 25);
    const Collected one = run_alone(model_.model, model_.compute, other);
    other.compression.parameters["window"] = 4;
    n_telling += run_alone(model_.model, model_.compute, other).answers != one.answers;
  }
  EXPECT_GT(n_telling, 0);
}

TEST_F(StepLoopQueries, ACachedPrefixEndsWhereTheQueriesBegin) {
  const struct {
    int n_prompt, window, cached;
  } cases[] = {{300, 64, 224}, {304, 64, 240}, {300, 1, 288}, {300, 300, 0}, {300, 1'000, 0}, {80, 64, 16}};
  for (const auto& [n_prompt, window, cached] : cases) {
    LoopDriver driver(model_.model, model_.compute, options(1'000, 128));
    Request plain = snapkv(n_prompt, 3, 2);
    plain.compression = {};
    driver.submit(plain);
    driver.run_to_the_end();
    const Request request = snapkv(n_prompt, 3, 25, window);
    const int warm = driver.submit(request);
    driver.run_to_the_end();
    EXPECT_EQ(driver.collect(warm).summary.cached_tokens, cached) << n_prompt << ", window " << window;
    EXPECT_EQ(driver.collect(warm).answers, run_alone(model_.model, model_.compute, request).answers);
  }
}

TEST_F(StepLoopQueries, AReplayComputesTheQueriesAnew) {
  for (const std::string press : {"snapkv", "expected_attention", "observed_attention"}) {
    DriverOptions small = options(420, 64);
    Request request = snapkv(260, 1, 60);
    if (press != "snapkv") request.compression = {.press = press, .ratio = 0.7};
    const Collected alone = run_alone(model_.model, model_.compute, request);
    for (int steps_before = 1; steps_before < 12; ++steps_before) {  // in prefill, before and after the press
      LoopDriver driver(model_.model, model_.compute, small);
      driver.submit(request);
      for (int step = 0; step < steps_before; ++step) driver.step();
      Request urgent = LoopModel::request(380, 2, 4);
      urgent.priority = 2;
      driver.submit(urgent);
      driver.run_to_the_end(10'000);
      EXPECT_EQ(driver.collect(0).summary.preemptions, 1) << "after " << steps_before << " steps";
      EXPECT_EQ(driver.collect(0).answers, alone.answers) << "after " << steps_before << " steps";
      EXPECT_EQ(driver.loop().stats().query_bytes, 0u);
    }
  }
}

TEST_F(StepLoopQueries, ForksShareTheCompressedPrompt) {
  Request request = snapkv(200, 1, 25);
  request.n = 3;
  request.sampling.temperature = 0.9f;
  const Collected alone = run_alone(model_.model, model_.compute, request);
  LoopDriver driver(model_.model, model_.compute, options(1'000, 50));
  driver.submit(LoopModel::request(100, 2, 30));
  driver.submit(request);
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(1).answers, alone.answers);
}

TEST_F(StepLoopQueries, QueriesAreHeldFromTheirFirstTokenToTheCompression) {
  LoopDriver driver(model_.model, model_.compute, options(1'000, 100));
  driver.submit(snapkv(300, 1, 10));
  driver.submit(LoopModel::request(20, 1, 10));  // has no press, so it costs nothing
  bool held = false;
  while (driver.collect(0).summary.rows_after_compression == 0 && driver.loop().has_work()) {
    driver.step();
    const size_t bytes = driver.loop().stats().query_bytes;
    EXPECT_TRUE(bytes == 0 || bytes == bytes_of(64)) << bytes;
    held |= bytes > 0;
  }
  driver.run_to_the_end();
  EXPECT_TRUE(held);
  EXPECT_EQ(driver.loop().stats().query_bytes, 0u);
}

TEST_F(StepLoopQueries, CancellationGivesTheirMemoryBackAtAnyStep) {
  int n_held = 0;
  for (int steps_before = 0; steps_before < 14; ++steps_before) {
    LoopDriver driver(model_.model, model_.compute, options(1'000, 32));
    driver.submit(snapkv(300, 1, 10));
    for (int step = 0; step < steps_before; ++step) driver.step();
    n_held += driver.loop().stats().query_bytes > 0;
    driver.cancel(0);
    driver.step();
    EXPECT_EQ(driver.loop().stats().query_bytes, 0u);
    EXPECT_FALSE(driver.loop().has_work());
    driver.loop().prefix_cache().clear();
    driver.loop().check();
    EXPECT_EQ(driver.pool().free_pages(), driver.pool().n_pages());
  }
  EXPECT_GT(n_held, 1);
}

TEST_F(StepLoopQueries, BudgetsOfAllSizes) {
  for (const char* press : {"snapkv", "pyramidkv", "tova", "expected_attention", "observed_attention"})
    for (const int budget : {1, 50, 200, 100'000}) {
      LoopDriver driver(model_.model, model_.compute, options(1'000, 100));
      Request request = LoopModel::request(200, 1, 10);
      request.compression = {.press = press, .budget = budget};
      driver.submit(request);
      driver.run_to_the_end();
      EXPECT_EQ(driver.collect(0).summary.rows_after_compression,
                4u * static_cast<size_t>(std::min(budget, 200)))
          << press;
    }
}

TEST_F(StepLoopQueries, AWindowLargerThanWhatIsKeptIsRefused) {
  LoopDriver driver(model_.model, model_.compute, options(1'000, 100));
  EXPECT_THROW(driver.submit(snapkv(300, 1, 10, model::kMostLastQueries + 1)), Error);
}

}  // namespace
}  // namespace fastcache::engine
