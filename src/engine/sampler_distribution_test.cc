// SPDX-License-Identifier: Apache-2.0
// What is sampled follows the distribution that the parameters say: chi-square, fixed seeds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/sampler_testing.h"

namespace fastcache::engine {
namespace {

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

// Over the tokens of one answer and over the first tokens of many seeds: both must be random.
TEST(SamplerDistribution, SamplesFollowTheFormula) {
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

// Without truncation the two attempts give exactly the restricted distribution.
TEST(SamplerDistribution, GrammarsGiveTheRestrictedDistribution) {
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
TEST(SamplerDistribution, GrammarsWithTopKGiveTheStatedMixture) {
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

}  // namespace
}  // namespace fastcache::engine
