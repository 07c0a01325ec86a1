// SPDX-License-Identifier: Apache-2.0
// Each parameter against its formula in plain loops.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/test_seed.h"
#include "engine/sampler_testing.h"

namespace fastcache::engine {
namespace {

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdOfEquals) {
  Sampler sampler({}, vocab());
  EXPECT_EQ(sampler.sample(only({{10, 3.0f}, {12, 1.0f}, {14, 3.0f}})).id, 10);
  Sampler biased({.logit_bias = {{7, 1.0f}}}, vocab());
  EXPECT_EQ(biased.sample(only({{10, 3.0f}, {12, 1.0f}, {14, 3.0f}})).id, 10);
}

TEST(Sampler, ASeedGivesTheSameTokens) {
  const std::vector<float> logits(kVocab, 0.0f);
  const auto tokens = [&](uint64_t seed) {
    Sampler sampler(plain(1.0f, seed), vocab());
    return draw(sampler, logits, 50);
  };
  EXPECT_EQ(tokens(1), tokens(1));
  EXPECT_NE(tokens(1), tokens(2));
  EXPECT_NE(tokens(1), tokens((uint64_t{1} << 32) + 1));
}

TEST(Sampler, PenaltiesFollowTheFormula) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 100; ++round) {
    SamplingParams params;
    params.repetition_penalty = 0.5f + static_cast<float>(random() % 20) / 10;
    params.presence_penalty = static_cast<float>(random() % 40) / 10 - 2;
    params.frequency_penalty = static_cast<float>(random() % 40) / 10 - 2;
    params.repeat_last_n = round % 3 == 0 ? -1 : static_cast<int>(random() % 30);
    Sampler sampler(params, vocab());
    std::vector<std::pair<int32_t, bool>> history;  // token, generated
    std::vector<int32_t> prompt(random() % 20);
    for (int32_t& token : prompt) {
      token = static_cast<int32_t>(random() % 40);
      history.push_back({token, false});
    }
    sampler.see_prompt(prompt);
    for (int step = 0; step < 40; ++step) {
      std::vector<float> logits = random_logits(random, 1.0f);
      for (size_t i = 0; i < 40; ++i) logits[i] += 3.0f;  // so that tokens repeat
      std::vector<float> expected = logits;
      const size_t window =
          params.repeat_last_n < 0 ? history.size() : static_cast<size_t>(params.repeat_last_n);
      const size_t begin = history.size() - std::min(window, history.size());
      for (int32_t token = 0; token < kVocab; ++token) {
        int seen = 0, generated = 0;
        for (size_t i = begin; i < history.size(); ++i) {
          seen += history[i].first == token ? 1 : 0;
          generated += history[i] == std::pair(token, true) ? 1 : 0;
        }
        float& logit = expected[static_cast<size_t>(token)];
        if (seen > 0)
          logit = logit <= 0 ? logit * params.repetition_penalty : logit / params.repetition_penalty;
        if (generated > 0)
          logit -= static_cast<float>(generated) * params.frequency_penalty + params.presence_penalty;
      }
      const int32_t token = sampler.sample(logits).id;
      ASSERT_EQ(token, argmax(expected)) << round << " " << step;
      history.push_back({token, true});
    }
  }
}

TEST(Sampler, BiasMovesAndBans) {
  const std::vector<float> logits = only({{10, 5.0f}, {11, 4.0f}, {12, 3.0f}});
  EXPECT_EQ(Sampler({.logit_bias = {{11, 1.5f}}}, vocab()).sample(logits).id, 11);
  EXPECT_EQ(Sampler({.logit_bias = {{12, 1.5f}, {12, 1.0f}}}, vocab()).sample(logits).id, 12);
  EXPECT_EQ(Sampler({.logit_bias = {{10, -100.0f}}}, vocab()).sample(only({{10, 3e30f}, {11, 0.0f}})).id, 11);
  SamplingParams hot = plain(100.0f, 5);
  for (int32_t token = 0; token < 200; ++token) hot.logit_bias.push_back({token, -100.0f});
  Sampler sampler(hot, vocab());
  for (const int32_t token : draw(sampler, std::vector<float>(kVocab, 0.0f), 1000)) EXPECT_GE(token, 200);
  for (int32_t token = 200; token < kVocab; ++token) hot.logit_bias.push_back({token, -100.0f});
  for (const float temperature : {0.0f, 1.0f}) {
    hot.temperature = temperature;
    Sampler none(hot, vocab());
    EXPECT_THROW(none.sample(std::vector<float>(kVocab, 0.0f)), Error);
  }
}

TEST(Sampler, NoEndBeforeMinTokensOrWithIgnoreEos) {
  const std::vector<float> logits = only({{2, 5.0f}, {50, 1.0f}});
  for (const float temperature : {0.0f, 0.1f}) {
    Sampler sampler({.temperature = temperature, .min_tokens = 3}, vocab());
    EXPECT_EQ(draw(sampler, logits, 4), (std::vector<int32_t>{50, 50, 50, 2}));
    Sampler endless({.temperature = temperature, .ignore_eos = true}, vocab());
    EXPECT_EQ(draw(endless, logits, 20), std::vector<int32_t>(20, 50));
  }
}

TEST(Sampler, LogprobsAreThoseOfTheRawModel) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 50; ++round) {
    std::vector<float> logits = random_logits(random);
    logits[100] = logits[200] = logits[300];  // equals
    SamplingParams params = plain(3.0f, 9);
    params.logit_bias = {{5, 50.0f}, {6, 50.0f}};
    params.logprobs = round % 21;
    const SampledToken token = Sampler(params, vocab()).sample(logits);
    EXPECT_TRUE(token.id == 5 || token.id == 6);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    const auto logprob = [&](int32_t id) { return logits[static_cast<size_t>(id)] - std::log(sum); };
    EXPECT_NEAR(token.logprob, logprob(token.id), 1e-5);
    std::vector<int32_t> ids(kVocab);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return logprob(a) > logprob(b); });
    ASSERT_EQ(token.top_logprobs.size(), static_cast<size_t>(params.logprobs));
    for (size_t i = 0; i < token.top_logprobs.size(); ++i) {
      EXPECT_EQ(token.top_logprobs[i].id, ids[i]);
      EXPECT_NEAR(token.top_logprobs[i].logprob, logprob(ids[i]), 1e-5);
    }
  }
  EXPECT_TRUE(Sampler({}, vocab()).sample(std::vector<float>(kVocab, 0.0f)).top_logprobs.empty());
}

TEST(Sampler, AbsurdParametersAreRefusedByName) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<std::pair<const char*, SamplingParams>> cases{
      {"temperature", {.temperature = -1.0f}},
      {"temperature", {.temperature = nan}},
      {"top_k", {.top_k = -1}},
      {"top_p", {.top_p = 1.5f}},
      {"min_p", {.min_p = nan}},
      {"repetition_penalty", {.repetition_penalty = 0.0f}},
      {"repetition_penalty", {.repetition_penalty = nan}},
      {"presence_penalty", {.presence_penalty = 2.5f}},
      {"frequency_penalty", {.frequency_penalty = -2.5f}},
      {"repeat_last_n", {.repeat_last_n = -2}},
      {"logit_bias", {.logit_bias = {{5, 101.0f}}}},
      {"logit_bias", {.logit_bias = {{5, nan}}}},
      {"logit_bias", {.logit_bias = {{kVocab, 1.0f}}}},
      {"logit_bias", {.logit_bias = {{-1, 1.0f}}}},
      {"logit_bias", {.logit_bias = std::vector<LogitBias>(kMaxLogitBiases + 1)}},
      {"min_tokens", {.min_tokens = -1}},
      {"json_schema", {.grammar = "root ::= \"a\"", .json_schema = "{}"}},
      {"logprobs", {.logprobs = 21}},
      {"logprobs", {.logprobs = -2}}};
  for (const auto& [name, params] : cases) {
    try {
      Sampler sampler(params, vocab());
      ADD_FAILURE() << name << " accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  }
  Sampler sampler({}, vocab());
  EXPECT_THROW(sampler.accept(kVocab), Error);
  EXPECT_THROW(sampler.see_prompt(std::vector<int32_t>{-1}), Error);
}

TEST(Sampler, LogitsThatAreNoNumbersAreRefused) {
  std::vector<float> logits(kVocab, 1.0f);
  for (const float temperature : {0.0f, 1.0f}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      logits[250] = bad;
      Sampler sampler({.temperature = temperature}, vocab());
      EXPECT_THROW(sampler.sample(logits), Error);
    }
  }
}

TEST(Sampler, ATemperatureTooSmallToDivideByIsGreedy) {
  std::vector<float> logits(kVocab, 1e3f);
  logits[200] = 2e3f;
  EXPECT_EQ(Sampler({.temperature = 1e-38f}, vocab()).sample(logits).id, 200);
  EXPECT_EQ(Sampler({.temperature = 1e-4f}, vocab()).sample(logits).id, 200);
}

}  // namespace
}  // namespace fastcache::engine
