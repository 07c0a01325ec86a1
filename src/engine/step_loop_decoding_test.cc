// SPDX-License-Identifier: Apache-2.0
// Compression during decoding: the same tokens as by hand, whatever else happens, in memory that does not
// grow with the answer.
#include "engine/testing/decoding_fixture.h"

namespace fastcache::engine {
namespace {

using test_support::chat_by_hand;
using test_support::ChatTurn;
using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;
using test_support::run_alone;

using StepLoopDecoding = test_support::DecodingTest;

constexpr const char* kInner[] = {
    "knorm",        "streaming_llm",       "keydiff",           "snapkv(window=8)", "tova", "cur",
    "adakv(knorm)", "pyramidkv(window=4)", "criticalkv(random)"};

TEST_F(StepLoopDecoding, ThreeTurnsAreThoseByHand) {
  for (const char* inner : kInner)
    for (const auto& [n_prompt, budget, every] :
         {std::tuple{100, 40, 16}, {20, 40, 7}, {60, 33, 64}, {30, 9, 1}}) {
      SCOPED_TRACE(testing::Message() << inner << ' ' << n_prompt << ' ' << budget << ' ' << every);
      LoopDriver driver(model_.model, model_.compute, options(600));
      std::vector<Request> turns{request(inner, n_prompt, 1, 60, budget, every)};
      for (int turn = 0; turn < 3; ++turn) {
        const int id = driver.submit(turns.back());
        driver.run_to_the_end(10'000);
        driver.loop().check();
        const Collected& here = driver.collect(id);
        const ChatTurn by_hand = chat_by_hand(model_, turns).back();
        ASSERT_EQ(here.answers[0].tokens, by_hand.answer) << "turn " << turn;
        EXPECT_EQ(here.summary.cached_tokens, by_hand.cached_tokens);
        EXPECT_EQ(here.summary.rows_before_compression, by_hand.rows_before);
        EXPECT_EQ(here.summary.rows_after_compression, by_hand.rows_after);
        EXPECT_EQ(here.summary.compressions, 1 + (60 - 2) / every) << "the last token's row is never fed";
        Request next = turns.back();
        next.tokens.insert(next.tokens.end(), here.answers[0].tokens.begin(), here.answers[0].tokens.end());
        const std::vector<int32_t> more = LoopModel::prompt(30, 77 + turn);
        next.tokens.insert(next.tokens.end(), more.begin(), more.end());
        turns.push_back(next);
      }
      expect_empty(driver);
    }
}

// Or the tests of equal tokens could not fail.
TEST_F(StepLoopDecoding, WhatTheIntervalAndTheWindowAreMatters) {
  int n_interval = 0, n_window = 0, n_prompt_only = 0;
  for (int salt = 0; salt < 6; ++salt) {
    const auto tokens = [&](const Request& r) {
      return run_alone(model_.model, model_.compute, r).answers[0].tokens;
    };
    const auto one = tokens(request("snapkv(window=8)", 60, salt, 80, 20, 16));
    n_interval += one != tokens(request("snapkv(window=8)", 60, salt, 80, 20, 15));
    n_window += one != tokens(request("snapkv(window=4)", 60, salt, 80, 20, 16));
    Request once = LoopModel::request(60, salt, 80);
    once.compression = {.press = "snapkv(window=8)", .budget = 20};
    n_prompt_only += one != tokens(once);
  }
  EXPECT_GT(n_interval, 0);
  EXPECT_GT(n_window, 0);
  EXPECT_GT(n_prompt_only, 0);
}

TEST_F(StepLoopDecoding, MemoryDoesNotGrowWithTheAnswer) {
  for (const int n_prompt : {10, 300}) {
    DriverOptions wide = options(600);
    wide.loop.prefix_cache = false;
    LoopDriver driver(model_.model, model_.compute, wide);
    driver.submit(request("knorm", n_prompt, 1, 700, 64, 32));
    size_t highest = 0, n_steps = 0;
    while (driver.loop().has_work()) {
      driver.step();
      const EngineStats stats = driver.loop().stats();
      if (stats.decoding == 0) continue;  // the prompt
      highest = std::max(highest, stats.pool_bytes - stats.free_bytes);
      ++n_steps;
    }
    EXPECT_GT(n_steps, 650u);
    EXPECT_EQ(highest, bytes_of(64 + 32));
    EXPECT_EQ(driver.collect(0).answers[0].tokens.size(), 700u);
    expect_empty(driver);
  }
}

// Each may take budget + every rows and nobody more: admission counts on that, so nobody is ever preempted.
TEST_F(StepLoopDecoding, APoolOfKSuchAnswersHoldsKHoweverLongTheyGet) {
  constexpr int kAnswers = 5, kBudget = 64, kEvery = 32;
  DriverOptions exact = options(0);
  exact.loop.prefix_cache = false;
  exact.pool_bytes =
      kAnswers * bytes_of(kBudget + kEvery) + LoopModel::kReservePages * LoopModel::page_bytes();
  const auto run = [&](const char* inner) {
    LoopDriver driver(model_.model, model_.compute, exact);
    for (int i = 0; i < 2 * kAnswers; ++i) {
      Request made = request(inner == nullptr ? "knorm" : inner, 40, i, 400, kBudget, kEvery);
      if (inner == nullptr) made.compression = {};
      driver.submit(made);
    }
    int most = 0;
    while (driver.loop().has_work()) {
      driver.step();
      most = std::max(most, driver.loop().stats().running);
    }
    const auto preemptions = driver.loop().stats().preemptions;
    if (inner != nullptr) {
      for (int i = 0; i < 2 * kAnswers; ++i) {
        const Request alone = request(inner, 40, i, 400, kBudget, kEvery);
        EXPECT_EQ(driver.collect(i).answers, run_alone(model_.model, model_.compute, alone).answers);
      }
    }
    expect_empty(driver);
    return std::pair{most, preemptions};
  };
  EXPECT_EQ(run("knorm"), (std::pair{kAnswers, decltype(EngineStats::preemptions){0}}));
  const auto uneven = run("adakv(random)");  // heads' last pages are partly filled
  EXPECT_EQ(uneven.second, 0);
  EXPECT_GE(uneven.first, kAnswers - 1);
  EXPECT_GT(run(nullptr).second, 0) << "uncompressed they outgrow the pool";
}

TEST_F(StepLoopDecoding, AReplayComesByTheSamePlaces) {
  for (const char* inner : {"knorm", "snapkv(window=8)", "adakv(random)"})
    for (const int every : {1, 16, 40}) {
      const Request one = request(inner, 120, 1, 90, 50, every);
      const std::vector<int32_t> expected = chat_by_hand(model_, {one})[0].answer;
      for (int steps_before = 1; steps_before < 90; steps_before += 7) {
        SCOPED_TRACE(testing::Message() << inner << " every " << every << " after " << steps_before);
        DriverOptions small = options(200);
        small.loop.prefix_cache = steps_before % 2 == 0;
        LoopDriver driver(model_.model, model_.compute, small);
        driver.submit(one);
        for (int step = 0; step < steps_before; ++step) driver.step();
        Request urgent = LoopModel::request(180, 2, 4);
        urgent.priority = 2;
        driver.submit(urgent);
        driver.run_to_the_end(20'000);
        EXPECT_EQ(driver.collect(0).summary.preemptions, 1);
        EXPECT_EQ(driver.collect(0).answers[0].tokens, expected);
        EXPECT_EQ(driver.collect(0).summary.compressions, 1 + (90 - 2) / every);
        expect_empty(driver);
      }
    }
}

TEST_F(StepLoopDecoding, AReplayOfALaterTurnBeginsWithTheRowsThatItHad) {
  for (const char* inner : {"knorm", "snapkv(window=8)"})
    for (const int n_before : {1, 5, 20, 40}) {
      const Request first = request(inner, 70, 1, 40, 30, 16);
      DriverOptions one = options(600);
      one.loop.max_running = 1;
      LoopDriver driver(model_.model, model_.compute, one);
      driver.submit(first);
      driver.run_to_the_end(10'000);
      Request second = first;
      const std::vector<int32_t>& answer = driver.collect(0).answers[0].tokens;
      second.tokens.insert(second.tokens.end(), answer.begin(), answer.end());
      second.tokens.push_back(9);
      second.max_tokens = 60;
      const int warm = driver.submit(second);
      while (static_cast<int>(driver.collect(warm).answers[0].tokens.size()) < n_before) driver.step();
      Request urgent = LoopModel::request(20, 9, 2);
      urgent.priority = 5;
      driver.submit(urgent);
      driver.run_to_the_end(10'000);
      EXPECT_EQ(driver.collect(warm).summary.preemptions, 1);
      EXPECT_EQ(driver.collect(warm).answers[0].tokens, chat_by_hand(model_, {first, second})[1].answer);
      expect_empty(driver);
    }
}

TEST_F(StepLoopDecoding, ForksAreCompressedEachByItself) {
  for (const char* inner : {"knorm", "snapkv(window=8)", "criticalkv(random)"}) {
    Request greedy = request(inner, 90, 1, 70, 40, 16);
    const std::vector<int32_t> by_hand = chat_by_hand(model_, {greedy})[0].answer;
    greedy.n = 3;
    Request warm = greedy;
    warm.sampling.temperature = 0.9f;
    const Collected alone = run_alone(model_.model, model_.compute, warm);
    for (const int pool_tokens : {1'000, 260, 130}) {
      LoopDriver driver(model_.model, model_.compute, options(pool_tokens));
      driver.submit(greedy);
      driver.submit(warm);
      driver.submit(LoopModel::request(60, 2, 30));
      driver.run_to_the_end(20'000);
      for (const auto& answer : driver.collect(0).answers) EXPECT_EQ(answer.tokens, by_hand) << pool_tokens;
      EXPECT_EQ(driver.collect(1).answers, alone.answers) << pool_tokens;
      expect_empty(driver);
    }
  }
}

TEST_F(StepLoopDecoding, QueriesAreHeldOnlyBeforeACompression) {
  LoopDriver driver(model_.model, model_.compute, options(600));
  driver.submit(request("snapkv(window=8)", 100, 1, 120, 40, 32));
  size_t n_held = 0, n_steps = 0;
  while (driver.loop().has_work()) {
    driver.step();
    if (driver.loop().stats().decoding == 0) continue;
    ++n_steps;
    const size_t bytes = driver.loop().stats().query_bytes;
    n_held += bytes > 0;
    EXPECT_TRUE(bytes == 0 || bytes == 2 * 4 * 16 * sizeof(float) * 8) << bytes;
  }
  EXPECT_NEAR(static_cast<double>(n_held) / static_cast<double>(n_steps), 8.0 / 32, 0.1);
  expect_empty(driver);
}

}  // namespace
}  // namespace fastcache::engine
