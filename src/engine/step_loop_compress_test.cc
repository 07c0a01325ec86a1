// SPDX-License-Identifier: Apache-2.0
// What compression is for: more sequences in the same pool, and conversations that go on from compressed
// rows.
#include <gtest/gtest.h>

#include <algorithm>

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

class StepLoopCompress : public testing::Test {
 protected:
  static DriverOptions options(int pool_tokens) { return test_support::loop_options(pool_tokens); }

  // As many as there is room for, held in their first tokens for as long as prompts come in.
  struct Most {
    int running = 0;
    size_t bytes_each = 0;  // then, of one answer
  };
  Most most_running(const std::string& press, int n_requests, int n_uncompressed) {
    constexpr int kPrompt = 1'000;
    DriverOptions wide = options(0);
    wide.pool_bytes += static_cast<size_t>(n_uncompressed) * LoopModel::kHeads * ((kPrompt + 15) / 16) *
                       LoopModel::page_bytes();
    wide.loop.step_tokens = kPrompt + 2;  // a whole prompt, and two decode rows
    wide.loop.policy = "fcfs";
    wide.loop.max_running = 1'000;
    wide.loop.prefix_cache = false;
    wide.loop.scheduler.lookahead_tokens = 0;
    wide.loop.scheduler.prefill_share = 0.999;
    LoopDriver driver(model_.model, model_.compute, wide);
    for (int i = 0; i < n_requests; ++i) {
      Request request = LoopModel::request(kPrompt, i, 300);
      request.compression.press = press;
      if (press != "none") request.compression.ratio = 0.8;
      driver.submit(request);
    }
    Most most;
    for (int step = 0; step < 3 * n_requests; ++step) {
      driver.step();
      const EngineStats stats = driver.loop().stats();
      if (stats.running < most.running) break;
      most.running = stats.running;
      EXPECT_EQ(stats.shared_bytes + stats.prefix_cached_bytes, 0u);
      most.bytes_each = (stats.prefill_bytes + stats.decode_bytes + stats.compressed_bytes) /
                        static_cast<size_t>(std::max(1, stats.running));
    }
    return most;
  }

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

  LoopModel model_{4'096, 1};
};

TEST_F(StepLoopCompress, APoolOfKSequencesHoldsFourAndAHalfTimesAsManyCompressed) {
  constexpr int kUncompressed = 16;
  const Most plain = most_running("none", kUncompressed + 5, kUncompressed);
  const Most compressed = most_running("knorm", 5 * kUncompressed, kUncompressed);
  EXPECT_EQ(plain.running, kUncompressed);
  EXPECT_GE(compressed.running, 4.5 * kUncompressed);
  EXPECT_LE(4.5 * static_cast<double>(compressed.bytes_each), static_cast<double>(plain.bytes_each));
}

TEST_F(StepLoopCompress, UnevenBudgetsFreePageByPage) {
  LoopDriver driver(model_.model, model_.compute, options(2'000));
  driver.submit(LoopModel::compressed(640, 1, 30, "test_uneven", 0.6));
  while (driver.loop().stats().compressed_bytes == 0) driver.step();
  driver.loop().prefix_cache().clear();
  // 4 heads share 4 * 256 rows: one keeps its 640 where they are, one 382 and two a single one. That is 40 +
  // 24 + 1 + 1 pages.
  const EngineStats stats = driver.loop().stats();
  EXPECT_EQ(stats.compressed_bytes, 26 * LoopModel::page_bytes());
  EXPECT_EQ(stats.prefill_bytes, 40 * LoopModel::page_bytes());
  EXPECT_EQ(stats.pool_bytes - stats.free_bytes, 66 * LoopModel::page_bytes());
  driver.run_to_the_end();
  const Collected& result = driver.collect(0);
  EXPECT_EQ(result.summary.rows_before_compression, 4u * 640);
  EXPECT_EQ(result.summary.rows_after_compression, 4u * 256);
  // What was prefilled into shared pages counts as freed too: the cache gives it up when needed.
  EXPECT_EQ(result.summary.freed_bytes, (4 * 40 - 66) * LoopModel::page_bytes());
}

TEST_F(StepLoopCompress, TheFirstTokenLeavesBeforeTheCompression) {
  for (const int n : {1, 3}) {
    LoopDriver driver(model_.model, model_.compute, options(2'000));
    Request request = LoopModel::compressed(600, 1, 10, "knorm", 0.8);
    request.n = n;
    driver.submit(request);
    while (driver.collect(0).answers[0].tokens.empty()) driver.step();
    EXPECT_EQ(driver.loop().stats().compressed_bytes, 0u);
    for (const auto& answer : driver.collect(0).answers) EXPECT_EQ(answer.tokens.size(), 1u);
    driver.step();
    EXPECT_GT(driver.loop().stats().compressed_bytes + driver.loop().stats().shared_bytes, 0u);
    driver.run_to_the_end();
    EXPECT_EQ(driver.collect(0).summary.rows_after_compression, 4u * 119);
  }
}

TEST_F(StepLoopCompress, TheNextTurnGoesOnFromCompressedRowsAsByHand) {
  for (const char* press : {"knorm", "test_uneven", "streaming_llm", "snapkv", "tova", "expected_attention",
                            "observed_attention", "test_merging", "test_second_pass"}) {
    // A second pass over the third turn's whole prompt must fit, even if it comes to less.
    const int small = std::string_view(press) == "test_second_pass" ? 400 : 256;
    for (const int pool_tokens : {2'000, small}) {
      SCOPED_TRACE(testing::Message() << press << ", pool of " << pool_tokens);
      LoopDriver driver(model_.model, model_.compute, options(pool_tokens));
      std::vector<Request> turns{LoopModel::compressed(100, 1, 12, press, 0.6)};
      std::vector<ChatTurn> by_hand;
      for (int turn = 0; turn < 3; ++turn) {
        const Request& request = turns.back();
        const Collected here = run(driver, request);
        by_hand = chat_by_hand(model_, turns);
        ASSERT_EQ(here.answers[0].tokens, by_hand.back().answer) << "turn " << turn;
        EXPECT_EQ(here.summary.cached_tokens, by_hand.back().cached_tokens);
        EXPECT_EQ(here.summary.rows_before_compression, by_hand.back().rows_before);
        EXPECT_EQ(here.summary.rows_after_compression, by_hand.back().rows_after);
        turns.push_back(next_turn(request, here, 30));
      }
      EXPECT_GT(by_hand.back().cached_tokens, 100);
    }
  }
}

TEST_F(StepLoopCompress, CompressedRowsAreForTheSamePressAndTenantOnly) {
  LoopDriver driver(model_.model, model_.compute, options(2'000));
  const Request first = LoopModel::compressed(100, 1, 12, "knorm", 0.6);
  const Collected answer = run(driver, first);
  const Request second = next_turn(first, answer, 30);

  Request plain = second;
  plain.compression = {};
  const Collected uncompressed = run(driver, plain);
  EXPECT_EQ(uncompressed.answers, run_alone(model_.model, model_.compute, plain).answers);
  EXPECT_EQ(uncompressed.summary.cached_tokens, 96) << "the plain rows of the first prompt";

  Request weaker = second;
  weaker.compression.ratio = 0.5;
  const Collected other_press = run(driver, weaker);
  EXPECT_EQ(other_press.answers, run_alone(model_.model, model_.compute, weaker).answers);
  EXPECT_EQ(other_press.summary.rows_before_compression, 4u * second.tokens.size()) << "plain rows, all anew";

  Request stranger = second;
  stranger.tenant = "another";
  const Collected elsewhere = run(driver, stranger);
  EXPECT_EQ(elsewhere.summary.cached_tokens, 0);
  EXPECT_EQ(elsewhere.answers, run_alone(model_.model, model_.compute, stranger).answers);
}

// What is cached is planned for with upper bounds: they must not add up to more than the pool.
TEST_F(StepLoopCompress, AConversationThatJustFitsGoesOn) {
  for (int n_more = 1; n_more <= 34; ++n_more) {
    const Request first = LoopModel::compressed(28, 1, 6, "knorm", 0.1);
    const int n_prompt = 28 + 6 + n_more;
    SCOPED_TRACE(testing::Message() << n_prompt << " tokens");
    LoopDriver driver(model_.model, model_.compute, options(n_prompt + 1));
    const Collected answer = run(driver, first);
    Request second = next_turn(first, answer, n_more);
    second.max_tokens = 1;
    EXPECT_EQ(run(driver, second).answers[0].tokens.size(), 1u);
  }
}

TEST_F(StepLoopCompress, NothingIsCompressedForAnswersThatAllEndedWithTheirFirstToken) {
  LoopDriver driver(model_.model, model_.compute, options(2'000));
  Request request = LoopModel::compressed(100, 1, 1, "knorm", 0.6);
  request.n = 3;
  driver.submit(request);
  while (!driver.collect(0).ended) driver.step();
  EXPECT_FALSE(driver.loop().has_work());
}

}  // namespace
}  // namespace fastcache::engine
