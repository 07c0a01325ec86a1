// SPDX-License-Identifier: Apache-2.0
// Quantised pages in the engine: what they free lets more sequences in; conversations, preemptions and the
// prefix cache go on as by hand.
#include <gtest/gtest.h>

#include "base/error.h"
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

Request quantized(int n_prompt, int salt, int max_tokens, const std::string& press) {
  Request request = LoopModel::request(n_prompt, salt, max_tokens);
  request.compression.press = press;
  return request;
}

class StepLoopQuantized : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) { return test_support::loop_options(pool_tokens); }

  // Answers that run together in a pool for 8 uncompressed prompts of 960 tokens.
  int most_running(const std::string& press) {
    constexpr int kPrompt = 960;
    DriverOptions wide = options(8 * kPrompt + 2 * kPrompt);
    wide.loop.step_tokens = kPrompt + 2;
    wide.loop.policy = "fcfs";
    wide.loop.max_running = 1'000;
    wide.loop.prefix_cache = false;
    wide.loop.scheduler.lookahead_tokens = 0;
    wide.loop.scheduler.prefill_share = 0.999;
    LoopDriver driver(model_.model, model_.compute, wide);
    for (int i = 0; i < 60; ++i) driver.submit(quantized(kPrompt, i, 300, press));
    int most = 0;
    for (int step = 0; step < 180; ++step) {
      driver.step();
      const int running = driver.loop().stats().running;
      if (running < most) break;
      most = running;
    }
    return most;
  }

  LoopModel model_{4'096, 1};
};

// Of 16 channels a page holds 24, 48 or 80 rows instead of 16.
TEST_F(StepLoopQuantized, APoolHoldsMoreSequencesTheFewerBitsTheyHave) {
  const int plain = most_running("none");
  EXPECT_GE(most_running("quantized(bits=8, residual=0)"), plain * 14 / 10);
  EXPECT_GE(most_running("quantized(bits=4, residual=0)"), plain * 26 / 10);
  EXPECT_GE(most_running("quantized(bits=2, residual=0)"), plain * 40 / 10);
}

TEST_F(StepLoopQuantized, SummaryAndStatisticsSayWhatWasFreed) {
  LoopDriver driver(model_.model, model_.compute, options(2'000));
  driver.submit(quantized(640, 1, 30, "quantized(bits=4, residual=64)"));
  while (driver.loop().stats().compressed_bytes == 0) driver.step();
  driver.loop().prefix_cache().clear();
  const EngineStats stats = driver.loop().stats();
  const size_t pages = (stats.pool_bytes - stats.free_bytes) / LoopModel::page_bytes();
  EXPECT_EQ(pages, 4U * (576 / 48 + 64 / 16));
  driver.run_to_the_end();
  const Collected& result = driver.collect(0);
  EXPECT_EQ(result.summary.rows_before_compression, 4U * 640);
  EXPECT_EQ(result.summary.rows_after_compression, 4U * 640);
  EXPECT_EQ(result.summary.freed_bytes, 4 * (40 - 16) * LoopModel::page_bytes());
}

TEST_F(StepLoopQuantized, TheNextTurnGoesOnFromQuantisedRowsAsByHand) {
  for (const char* press : {"quantized(bits=4, residual=16)", "quantized(bits=2, residual=0)",
                            "composed(snapkv(ratio=0.5), quantized(bits=8, residual=16))"}) {
    for (const int pool_tokens : {2'000, 300}) {
      SCOPED_TRACE(testing::Message() << press << ", pool of " << pool_tokens);
      LoopDriver driver(model_.model, model_.compute, options(pool_tokens));
      std::vector<Request> turns{quantized(100, 1, 12, press)};
      for (int turn = 0; turn < 3; ++turn) {
        const int id = driver.submit(turns.back());
        driver.run_to_the_end(10'000);
        driver.loop().check();
        const Collected here = driver.collect(id);
        const ChatTurn by_hand = chat_by_hand(model_, turns).back();
        ASSERT_EQ(here.answers[0].tokens, by_hand.answer) << "turn " << turn;
        EXPECT_EQ(here.summary.cached_tokens, by_hand.cached_tokens);
        Request next = turns.back();
        next.tokens.insert(next.tokens.end(), by_hand.answer.begin(), by_hand.answer.end());
        const std::vector<int32_t> more = LoopModel::prompt(30, 77);
        next.tokens.insert(next.tokens.end(), more.begin(), more.end());
        turns.push_back(next);
      }
    }
  }
}

// Many in a small pool: they take turns, are preempted and replayed, several answers share a prompt.
TEST_F(StepLoopQuantized, CompanyAndScarcityChangeNoAnswer) {
  LoopDriver driver(model_.model, model_.compute, options(420));
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(quantized(60 + 30 * i, i, 60, i % 2 == 0 ? "quantized(bits=4, residual=16)" : "none"));
    requests.back().n = i == 2 ? 3 : 1;
    driver.submit(requests.back());
  }
  driver.run_to_the_end();
  driver.loop().check();
  EXPECT_GT(driver.loop().stats().preemptions, 0);
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(driver.collect(i).answers, run_alone(model_.model, model_.compute, requests[i]).answers) << i;
}

TEST_F(StepLoopQuantized, ACacheThatHasNoMoreBitsRefusesIt) {
  DriverOptions int8 = options(2'000);
  int8.kv_type = kv::KvType::int8;
  LoopDriver driver(model_.model, model_.compute, int8);
  EXPECT_THROW(driver.submit(quantized(100, 1, 10, "quantized(bits=8)")), Error);
  EXPECT_NO_THROW(driver.submit(quantized(100, 1, 10, "quantized(bits=4, residual=0)")));
  EXPECT_THROW(driver.submit(quantized(100, 1, 10, "quantized(layer_bits=[4, 4, 4])")), Error);  // 2 layers
  driver.run_to_the_end();
  EXPECT_EQ(driver.collect(0).answers[0].tokens.size(), 10U);
}

}  // namespace
}  // namespace fastcache::engine
