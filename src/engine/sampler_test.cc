// SPDX-License-Identifier: Apache-2.0
// Each parameter against its formula in plain loops.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "base/error.h"
#include "base/test_seed.h"
#include "model/testing/tiny_model.h"

namespace fastcache::engine {
namespace {

constexpr int kVocab = 320;
constexpr SamplingParams plain(float temperature, uint64_t seed) {
  SamplingParams params;
  params.temperature = temperature;
  params.seed = seed;
  params.top_k = 0;
  params.top_p = 1.0f;
  params.min_p = 0.0f;
  return params;
}

// One vocabulary for all tests: <unk> 0, <s> 1, </s> 2 (the only end), bytes, words.
const model::Vocab& vocab() {
  struct Loaded {
    Loaded() {
      model::test_support::write_tiny_model(folder.file("m.gguf"), {.n_vocab = kVocab});
      file.emplace(folder.file("m.gguf"));
      vocab.emplace(*file);
    }
    model::test_support::TemporaryFolder folder;
    std::optional<model::GgufFile> file;
    std::optional<model::Vocab> vocab;
  };
  static const Loaded loaded;
  return *loaded.vocab;
}

std::vector<float> random_logits(std::mt19937_64& random, float spread = 3.0f) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

// Everything but `logits` is as good as impossible.
std::vector<float> only(const std::map<int, float>& logits) {
  std::vector<float> all(kVocab, -1000.0f);
  for (const auto& [token, logit] : logits) all[static_cast<size_t>(token)] = logit;
  return all;
}

std::vector<int32_t> draw(Sampler& sampler, const std::vector<float>& logits, int n) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < n; ++i) tokens.push_back(sampler.sample(logits).id);
  return tokens;
}

// The probabilities that remain after top_k, top_p, min_p and temperature, in this order.
std::map<int32_t, double> distribution(const std::vector<float>& logits, const SamplingParams& params) {
  std::vector<std::pair<double, int32_t>> sorted;
  for (size_t i = 0; i < logits.size(); ++i) sorted.push_back({-logits[i], static_cast<int32_t>(i)});
  std::sort(sorted.begin(), sorted.end());
  if (params.top_k > 0) sorted.resize(std::min(sorted.size(), static_cast<size_t>(params.top_k)));
  double sum = 0;
  for (const auto& [minus, id] : sorted) sum += std::exp(-minus);
  size_t n = 0;
  for (double mass = 0; n < sorted.size() && mass < params.top_p; ++n)
    mass += std::exp(-sorted[n].first) / sum;
  sorted.resize(n);
  const double best = -sorted.front().first;
  std::erase_if(sorted, [&](const auto& one) { return std::exp(-one.first - best) < params.min_p; });
  std::map<int32_t, double> result;
  double total = 0;
  for (const auto& [minus, id] : sorted) total += result[id] = std::exp((-minus - best) / params.temperature);
  for (auto& [id, p] : result) p /= total;
  return result;
}

// Outcomes that are expected less than five times are counted together.
void expect_chi_square(const std::map<int32_t, int>& counts, const std::map<int32_t, double>& expected,
                       int n) {
  double sum = 0, rare_expected = 0, rare_seen = 0;
  int freedom = -1;
  for (const auto& [token, count] : counts) ASSERT_TRUE(expected.contains(token)) << token;
  for (const auto& [token, p] : expected) {
    const double seen = counts.contains(token) ? counts.at(token) : 0;
    if (p * n < 5) {
      rare_expected += p * n;
      rare_seen += seen;
      continue;
    }
    sum += (seen - p * n) * (seen - p * n) / (p * n);
    ++freedom;
  }
  if (rare_expected > 5) {
    sum += (rare_seen - rare_expected) * (rare_seen - rare_expected) / rare_expected;
    ++freedom;
  }
  if (freedom > 0) {  // mean + 5 standard deviations
    EXPECT_LT(sum, freedom + 5 * std::sqrt(2.0 * freedom) + 5) << freedom << " degrees of freedom";
  }
}

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

// Over the tokens of one answer and over the first tokens of many seeds: both must be random.
TEST(Sampler, SamplesFollowTheFormula) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 12; ++round) {
    SamplingParams params = plain(0.5f + 0.3f * static_cast<float>(round % 4), static_cast<uint64_t>(round));
    params.top_k = round % 3 == 0 ? 0 : 20;
    params.top_p = round % 2 == 0 ? 1.0f : 0.8f;
    params.min_p = round % 4 < 2 ? 0.0f : 0.05f;
    const std::vector<float> logits = random_logits(random);
    const int n = 6000;
    std::map<int32_t, int> one_answer, many_seeds;
    Sampler sampler(params, vocab());
    for (int i = 0; i < n; ++i) {
      ++one_answer[sampler.sample(logits).id];
      params.seed = static_cast<uint64_t>(round * n + i);
      ++many_seeds[Sampler(params, vocab()).sample(logits).id];
    }
    SCOPED_TRACE(round);
    expect_chi_square(one_answer, distribution(logits, params), n);
    expect_chi_square(many_seeds, distribution(logits, params), n);
  }
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

// Without truncation the two attempts give exactly the restricted distribution.
TEST(Sampler, GrammarsGiveTheRestrictedDistribution) {
  std::vector<float> logits(kVocab, -1000.0f);
  const std::map<std::string, float> weights{{"a", 4.0f}, {"b", 1.0f}, {"c", 2.0f}, {"d", 8.0f}};
  std::map<std::string, int> counts;
  for (const auto& [text, weight] : weights) logits[static_cast<size_t>(3 + text[0])] = std::log(weight);
  SamplingParams params{.temperature = 1.0f, .top_k = 0, .top_p = 1.0f, .min_p = 0.0f};
  params.grammar = "root ::= [abc]*";  // "d" is refused in 8 of 15 draws
  params.seed = 11;
  Sampler sampler(params, vocab());
  const int n = 10000;
  for (int i = 0; i < n; ++i) ++counts[vocab().piece(sampler.sample(logits).id)];
  EXPECT_EQ(counts["d"], 0);
  double chi_square = 0;
  for (const char* text : {"a", "b", "c"}) {
    const double expected = n * weights.at(text) / 7;
    chi_square += (counts[text] - expected) * (counts[text] - expected) / expected;
  }
  EXPECT_LT(chi_square, 13.8);  // two degrees of freedom: one in a thousand
}

// The same with top_k: the mixture that the header states.
TEST(Sampler, GrammarsWithTopKGiveTheStatedMixture) {
  const std::vector<float> logits = only(
      {{3 + 'd', std::log(8.0f)}, {3 + 'a', std::log(4.0f)}, {3 + 'c', std::log(2.0f)}, {3 + 'b', 0.0f}});
  SamplingParams params = plain(1.0f, 12);
  params.top_k = 2;
  params.grammar = "root ::= [abc]*";
  Sampler sampler(params, vocab());
  const int n = 10000;
  std::map<int32_t, int> counts;
  for (int i = 0; i < n; ++i) ++counts[sampler.sample(logits).id];
  const double first = 4.0 / 12;  // "a" of {d, a}; else one of {a, c}
  expect_chi_square(counts, {{3 + 'a', first + (1 - first) * 4 / 6}, {3 + 'c', (1 - first) * 2 / 6}}, n);
}

// Answers are random walks: what was sampled decides the next logits, as in a model.
class Walk {
 public:
  std::vector<float> logits(const std::vector<int32_t>& tokens) const {
    std::mt19937_64 random(tokens.empty() ? 1 : static_cast<uint64_t>(tokens.back()) * 77 + tokens.size());
    return random_logits(random, 1.0f);
  }
  void go(Sampler& sampler, std::vector<int32_t>& tokens, size_t n) const {
    while (tokens.size() < n) tokens.push_back(sampler.sample(logits(tokens)).id);
  }
};

SamplingParams everything(uint64_t seed) {
  SamplingParams params{.temperature = 1.2f, .top_k = 100, .top_p = 0.95f, .min_p = 0.01f, .seed = seed};
  params.repetition_penalty = 1.3f;
  params.presence_penalty = 0.5f;
  params.frequency_penalty = 0.7f;
  params.repeat_last_n = 12;
  params.min_tokens = 25;
  params.grammar = "root ::= [^x]*";
  return params;
}

TEST(Sampler, AReplayGoesOnAsIfNeverInterrupted) {
  const std::vector<int32_t> prompt{5, 6, 7, 100, 101};
  const Walk walk;
  Sampler whole(everything(3), vocab());
  whole.see_prompt(prompt);
  std::vector<int32_t> expected;
  walk.go(whole, expected, 60);
  for (size_t cut = 0; cut < 60; cut += 7) {
    Sampler anew(everything(3), vocab());
    anew.see_prompt(prompt);
    std::vector<int32_t> tokens(expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(cut));
    for (const int32_t token : tokens) anew.accept(token);
    EXPECT_EQ(anew.n_accepted(), static_cast<int>(cut));
    walk.go(anew, tokens, 60);
    EXPECT_EQ(tokens, expected) << cut;
  }
}

TEST(Sampler, AForkIsARequestOfItsOwnWithTheNextSeed) {
  const std::vector<int32_t> prompt{5, 6, 7};
  const Walk walk;
  Sampler first(everything(10), vocab());
  first.see_prompt(prompt);
  std::vector<Sampler> forks;
  for (uint64_t i = 1; i < 4; ++i) forks.push_back(first.fork(i));
  std::vector<int32_t> answer;
  walk.go(first, answer, 40);  // must not disturb the forks
  std::set<std::vector<int32_t>> all{answer};
  for (uint64_t i = 1; i < 4; ++i) {
    Sampler alone(everything(10 + i), vocab());
    alone.see_prompt(prompt);
    std::vector<int32_t> expected, forked;
    walk.go(alone, expected, 40);
    walk.go(forks[i - 1], forked, 40);
    EXPECT_EQ(forked, expected) << i;
    all.insert(forked);
  }
  EXPECT_EQ(all.size(), 4u);
  Sampler late = first.fork(0);
  std::vector<int32_t> copy = answer;
  walk.go(first, answer, 60);
  walk.go(late, copy, 60);
  EXPECT_EQ(copy, answer);
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
