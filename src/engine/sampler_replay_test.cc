// SPDX-License-Identifier: Apache-2.0
// A sampler made anew, or forked, goes on as if nothing had happened.
#include <gtest/gtest.h>

#include <set>

#include "engine/sampler_testing.h"

namespace fastcache::engine {
namespace {

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

TEST(SamplerReplay, AReplayGoesOnAsIfNeverInterrupted) {
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

TEST(SamplerReplay, AForkIsARequestOfItsOwnWithTheNextSeed) {
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

}  // namespace
}  // namespace fastcache::engine
