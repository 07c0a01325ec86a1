// SPDX-License-Identifier: Apache-2.0
// Heads that hold first and recent rows only while others of the same layer keep all, during decoding too:
// what each head gives up is free, and tokens are those by hand.
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

class StepLoopStreamingHeads : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) {
    DriverOptions made = test_support::loop_options(pool_tokens, 48);
    made.loop.prefix_cache = false;
    return made;
  }
  static Request request(int n_prompt, int salt, int max_tokens, int budget, int every) {
    Request made = LoopModel::request(n_prompt, salt, max_tokens);
    made.compression = {.press = "test_streaming_heads", .budget = budget};
    made.compression.parameters["every"] = every;
    return made;
  }
  static size_t pages(size_t rows) { return (rows + 15) / 16; }

  LoopModel model_{1'024, 1};
};

TEST_F(StepLoopStreamingHeads, EachStepHoldsWhatItsHeadsMay) {
  constexpr size_t kBudget = 20, kEvery = 8;
  LoopDriver driver(model_.model, model_.compute, options(600));
  driver.submit(request(100, 1, 300, kBudget, kEvery));
  size_t rows_before = 0, n_cuts = 0;
  while (!driver.collect(0).ended) {
    driver.step();
    if (driver.loop().stats().decoding == 0) continue;
    driver.loop().check();
    const RequestFigures figures = driver.loop().figures(1)[0];
    const size_t n_tokens = figures.rows_uncompressed / LoopModel::kHeads;
    const size_t of_streaming = figures.rows_held - 2 * n_tokens;  // two of four heads keep all
    EXPECT_GE(of_streaming, 2 * kBudget);
    EXPECT_LE(of_streaming, 2 * (kBudget + kEvery));
    EXPECT_EQ(figures.bytes, LoopModel::page_bytes() * 2 * (pages(n_tokens) + pages(of_streaming / 2)));
    const EngineStats stats = driver.loop().stats();
    EXPECT_EQ(stats.pool_bytes - stats.free_bytes, figures.bytes);
    n_cuts += figures.rows_held < rows_before ? 1 : 0;
    rows_before = figures.rows_held;
  }
  EXPECT_GE(n_cuts, 300 / kEvery - 2);
  EXPECT_EQ(driver.loop().stats().free_bytes, driver.loop().stats().pool_bytes);
}

TEST_F(StepLoopStreamingHeads, TokensAreThoseByHandAlsoAfterAPreemption) {
  for (const auto& [budget, every] : {std::pair{20, 8}, {5, 1}, {40, 64}}) {
    const Request asked = request(100, 1, 60, budget, every);
    const auto by_hand = chat_by_hand(model_, {asked});
    LoopDriver driver(model_.model, model_.compute, options(600));
    driver.submit(asked);
    driver.submit(LoopModel::request(90, 2, 20));
    driver.run_to_the_end();
    EXPECT_EQ(driver.collect(0).answers[0].tokens, by_hand[0].answer) << budget << ' ' << every;
    for (int steps_before = 2; steps_before < 60; steps_before += 9) {
      LoopDriver scarce(model_.model, model_.compute, options(240));
      scarce.submit(asked);
      for (int step = 0; step < steps_before; ++step) scarce.step();
      Request urgent = LoopModel::request(220, 2, 4);
      urgent.priority = 2;
      scarce.submit(urgent);
      scarce.run_to_the_end(10'000);
      EXPECT_EQ(scarce.collect(0).summary.preemptions, 1) << "after " << steps_before << " steps";
      EXPECT_EQ(scarce.collect(0).answers[0].tokens, by_hand[0].answer);
    }
  }
}

// The reason for it: a pool that cannot hold the answer otherwise.
TEST_F(StepLoopStreamingHeads, ALongAnswerFitsWhereItWouldNot) {
  Request plain = LoopModel::request(50, 1, 400);
  LoopDriver cut_short(model_.model, model_.compute, options(288));
  cut_short.submit(plain);
  cut_short.run_to_the_end();
  EXPECT_LT(cut_short.collect(0).answers[0].tokens.size(), 400u);
  LoopDriver driver(model_.model, model_.compute, options(288));
  driver.submit(request(50, 1, 400, 20, 8));
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(0).answers[0].tokens.size(), 400u);
  EXPECT_EQ(driver.collect(0).answers,
            run_alone(model_.model, model_.compute, request(50, 1, 400, 20, 8)).answers);
}

}  // namespace
}  // namespace fastcache::engine
