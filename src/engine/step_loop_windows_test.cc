// SPDX-License-Identifier: Apache-2.0
// A model with sliding windows in the step loop: what the windows have left behind is freed while others run,
// and nobody's tokens change; not with the prefix cache, a press or a preemption either.
#include <gtest/gtest.h>

#include "engine/testing/compressed_chat.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::chat_by_hand;
using test_support::ChatTurn;
using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

constexpr int kWindow = 64;

model::test_support::TinyModel windows() {  // layer 0 is local
  return {.qk_norm = true,
          .post_norms = true,
          .sliding_window = kWindow,
          .window_pattern = 2,
          .architecture = "gemma3"};
}

class StepLoopWindows : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) { return test_support::loop_options(pool_tokens); }

  // In one chunk, in a pool where nothing is scarce; its pages are freed behind the prompt only.
  Collected alone(const Request& request) { return run_alone(model_.model, model_.compute, request); }

  static Request next_turn(const Request& turn, const Collected& answer, int n_more) {
    Request next = turn;
    next.tokens.insert(next.tokens.end(), answer.answers[0].tokens.begin(), answer.answers[0].tokens.end());
    const std::vector<int32_t> more = LoopModel::prompt(n_more, 77);
    next.tokens.insert(next.tokens.end(), more.begin(), more.end());
    return next;
  }

  const Collected& run(LoopDriver& driver, const Request& request) {
    const int id = driver.submit(request);
    driver.run_to_the_end(10'000);
    driver.loop().check();
    return driver.collect(id);
  }

  LoopModel model_{4'096, 1, windows()};
};

TEST_F(StepLoopWindows, PagesBehindTheWindowAreFreed) {
  DriverOptions wide = options(2'000);
  wide.loop.prefix_cache = false;
  LoopDriver driver(model_.model, model_.compute, wide);
  driver.submit(LoopModel::request(1'000, 1, 100));
  while (driver.collect(0).answers[0].tokens.size() < 2) driver.step();
  // 1,001 rows: the next query sees from 938 on, so 896 left two heads; two others have all.
  const EngineStats stats = driver.loop().stats();
  EXPECT_EQ(stats.pool_bytes - stats.free_bytes, (2 * 63 + 2 * (63 - 56)) * LoopModel::page_bytes());
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(0).answers, alone(LoopModel::request(1'000, 1, 100)).answers);
}

// Small steps, company, and a pool so small that answers give way to others.
TEST_F(StepLoopWindows, TokensDependOnTheRequestAlone) {
  for (const int pool_tokens : {4'000, 620}) {
    for (const bool prefix_cache : {false, true}) {
      DriverOptions small = options(pool_tokens);
      small.loop.step_tokens = 50;
      small.loop.prefix_cache = prefix_cache;
      LoopDriver driver(model_.model, model_.compute, small);
      std::vector<Request> requests;
      for (int i = 0; i < 5; ++i) requests.push_back(LoopModel::request(90 + 100 * i, i, 40));
      for (const Request& request : requests) driver.submit(request);
      driver.run_to_the_end(10'000);
      driver.loop().check();
      for (int i = 0; i < 5; ++i)
        EXPECT_EQ(driver.collect(i).answers, alone(requests[static_cast<size_t>(i)]).answers)
            << "request " << i << ", pool of " << pool_tokens << ", cache " << prefix_cache;
    }
  }
}

// The first prompt's pages leave its windows while it is computed; the second begins with 600 of its tokens.
TEST_F(StepLoopWindows, APrefixLongerThanTheWindowIsFoundWhole) {
  DriverOptions small = options(4'000);
  small.loop.step_tokens = 100;
  LoopDriver driver(model_.model, model_.compute, small);
  const Request first = LoopModel::request(800, 1, 60);
  const Collected answer = run(driver, first);
  EXPECT_EQ(answer.answers, alone(first).answers);

  Request second = LoopModel::request(600, 1, 30);
  second.tokens.resize(600);
  for (int token : LoopModel::prompt(50, 9)) second.tokens.push_back(token);
  const Collected branched = run(driver, second);
  EXPECT_EQ(branched.summary.cached_tokens, 592);
  EXPECT_EQ(branched.answers, alone(second).answers);

  const Request third = next_turn(first, answer, 20);
  const Collected went_on = run(driver, third);
  EXPECT_EQ(went_on.summary.cached_tokens, 848);  // of 859 rows, whole blocks
  EXPECT_EQ(went_on.answers, alone(third).answers);
}

// By hand nothing is freed behind windows, and each turn is one chunk.
TEST_F(StepLoopWindows, TurnsWithAPressAreThoseByHand) {
  for (const char* press : {"knorm", "snapkv", "tova", "expected_attention", "observed_attention",
                            "streaming_llm", "test_merging", "adakv"}) {
    SCOPED_TRACE(press);
    DriverOptions small = options(4'000);
    small.loop.step_tokens = 70;
    LoopDriver driver(model_.model, model_.compute, small);
    std::vector<Request> turns{LoopModel::compressed(250, 1, 80, press, 0.6)};
    if (std::string_view(press) == "adakv") turns[0].compression.press = "adakv(knorm)";
    std::vector<ChatTurn> by_hand;
    for (int turn = 0; turn < 3; ++turn) {
      const Collected here = run(driver, turns.back());
      by_hand = chat_by_hand(model_, turns);
      ASSERT_EQ(here.answers[0].tokens, by_hand.back().answer) << "turn " << turn;
      EXPECT_EQ(here.summary.cached_tokens, by_hand.back().cached_tokens);
      EXPECT_EQ(here.summary.rows_before_compression, by_hand.back().rows_before);
      EXPECT_EQ(here.summary.rows_after_compression, by_hand.back().rows_after);
      turns.push_back(next_turn(turns.back(), here, 30));
    }
  }
}

// Rows that count: 2 heads see 63 of the 250, and 2 all.
TEST_F(StepLoopWindows, TheSummaryCountsRowsThatALaterQuerySees) {
  LoopDriver driver(model_.model, model_.compute, options(4'000));
  const Collected result = run(driver, LoopModel::compressed(250, 1, 8, "knorm", 0.5));
  EXPECT_EQ(result.summary.rows_before_compression, 2u * 250 + 2u * 63);
  EXPECT_EQ(result.summary.rows_after_compression, 2u * 125 + 2u * 31);
}

}  // namespace
}  // namespace fastcache::engine
