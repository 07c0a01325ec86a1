// SPDX-License-Identifier: Apache-2.0
// CriticalKV beside its formula in plain loops, and the bounds that spare it most of the work.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/output_norm.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

using Doubles = std::vector<double>;

struct Case {
  RandomCache cache;
  TestOutputWeights output;
  int group;
  Case(int n_rows, uint64_t seed, int its_group = 2, int n_out = 40)
      : cache(n_rows, seed), output(cache.sequence.shape(), kCacheDim, its_group, n_out), group(its_group) {}

  LayerInput layer(int index) const {
    return {cache.pool, cache.sequence, index, false, nullptr, output.layers[index]};
  }
  double weight(int layer, int out, int channel) const {
    const size_t n_in = static_cast<size_t>(output.layers[0]->n_in()), n_out = output.layers[0]->n_out();
    return output.values[(static_cast<size_t>(layer) * n_out + out) * n_in + channel];
  }
  // mean over the query heads of norm1(W_O v).
  double norm(int pair, int row) const {
    const int layer = pair / kCacheHeads, head = pair % kCacheHeads;
    double sum = 0;
    for (int q = 0; q < group; ++q)
      for (int out = 0; out < output.layers[0]->n_out(); ++out) {
        double dot = 0;
        for (int d = 0; d < kCacheDim; ++d)
          dot += weight(layer, out, (head * group + q) * kCacheDim + d) * cache.v(pair, row, d);
        sum += std::abs(dot);
      }
    return sum / group;
  }
};

std::vector<int32_t> all_rows(int n) { return first_tokens(n); }

TEST(OutputNorm, IsTheMeanOfL1Norms) {
  for (const auto& [n_rows, group, n_out] : {std::tuple{1, 2, 40}, {64, 1, 1}, {65, 3, 17}, {150, 2, 96}}) {
    const Case c(n_rows, test_seed(), group, n_out);
    for (int pair = 0; pair < kPairs; ++pair) {
      const OutputNorm norm(c.layer(pair / kCacheHeads), pair % kCacheHeads);
      std::vector<float> norms(n_rows);
      norm.norms(all_rows(n_rows), norms.data());
      for (int row = 0; row < n_rows; ++row)
        ASSERT_NEAR(norms[row], c.norm(pair, row), 1e-5 * c.norm(pair, row) + 1e-5) << "row " << row;
    }
  }
}

TEST(OutputNorm, OfAnyRowsInAnyOrderItIsTheSameToTheBit) {
  const Case c(200, test_seed());
  const OutputNorm norm(c.layer(1), 1);
  std::vector<float> all(200);
  norm.norms(all_rows(200), all.data());
  std::vector<int32_t> rows = all_rows(200);
  std::shuffle(rows.begin(), rows.end(), std::mt19937_64{test_seed()});
  rows.resize(77);
  std::vector<float> some(77);
  norm.norms(rows, some.data());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(some[i], all[rows[i]]);
}

TEST(OutputNorm, BoundsAreNeverBelowNorms) {
  double sum = 0;
  int n = 0;
  for (int round = 0; round < 20; ++round) {
    Case c(100, test_seed() + round, 1 + round % 3, 1 + 7 * (round % 6));
    for (int row = 0; row < 100; row += 3) c.cache.set(row % kPairs, row, std::ldexp(1.0f, row - 50));
    c.cache.set(0, 1, 0.0f);
    for (int pair = 0; pair < kPairs; ++pair) {
      const OutputNorm norm(c.layer(pair / kCacheHeads), pair % kCacheHeads);
      std::vector<float> norms(100);
      norm.norms(all_rows(100), norms.data());
      const std::vector<float> bounds = norm.bounds();
      for (int row = 0; row < 100; ++row) {
        ASSERT_GE(bounds[row], norms[row]) << "seed " << test_seed() << " round " << round << " row " << row;
        if (norms[row] > 0 && c.output.layers[0]->n_out() > 30) {
          sum += bounds[row] / norms[row];
          ++n;
        }
      }
    }
  }
  EXPECT_LT(sum / n, 1.5) << "a bound that keeps nothing away is no use";
}

// Is what was kept of one head what the formula keeps, ties within rounding aside?
void expect_kept(const std::vector<int32_t>& kept, const HeadScores& scores, const Doubles& norms, int n_keep,
                 int n_first) {
  ASSERT_EQ(static_cast<int>(kept.size()), n_keep);
  std::vector<int32_t> by_score = all_rows(static_cast<int>(scores.size()));
  std::stable_sort(by_score.begin(), by_score.end(), [&](int a, int b) { return scores[a] > scores[b]; });
  const auto is_kept = [&](int32_t row) { return std::binary_search(kept.begin(), kept.end(), row); };
  for (int i = 0; i < n_first; ++i) EXPECT_TRUE(is_kept(by_score[i])) << "row " << by_score[i];
  double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
  for (size_t i = n_first; i < by_score.size(); ++i) {
    const int32_t row = by_score[i];
    const double product = (scores[row] + 1e-4) * norms[row];
    if (is_kept(row))
      lowest = std::min(lowest, product);
    else
      highest = std::max(highest, product);
  }
  EXPECT_TRUE(lowest >= highest || lowest >= highest - 1e-5 * std::abs(highest)) << lowest << ' ' << highest;
}

// keydiff's and knorm's scores are negative too; random's and cur's are not.
TEST(CriticalKv, KeepsWhatTheFormulaKeeps) {
  for (const char* inner : {"random", "cur", "keydiff", "knorm", "streaming_llm"})
    for (const int n : {1, 2, 3, 50, 333})
      for (const double ratio : {0.0, 0.3, 0.8, 0.97}) {
        SCOPED_TRACE(testing::Message() << inner << ' ' << n << ' ' << ratio << " seed " << test_seed());
        Case c(n, test_seed() + n);
        const auto wrapped = make_press(parse_press(inner, {.ratio = 0.5}));
        std::vector<HeadScores> scores;
        std::vector<Doubles> norms(kPairs);
        for (int pair = 0; pair < kPairs; ++pair) {
          scores.push_back(wrapped->score(c.layer(pair / kCacheHeads))[pair % kCacheHeads]);
          for (int row = 0; row < n; ++row) norms[pair].push_back(c.norm(pair, row));
        }
        run_press(parse_press(std::string{"criticalkv("} + inner + ")", {.ratio = ratio}), c.cache.pool,
                  c.cache.sequence);
        const Tokens kept = tokens_held(c.cache.sequence);
        const int n_keep = std::max(1, static_cast<int>(n * (1 - ratio)));
        const int n_first = std::max(1, n_keep / 2);
        for (int pair = 0; pair < kPairs; ++pair)
          expect_kept(kept[pair], scores[pair], norms[pair], n_keep, n_first);
      }
}

// The second half must matter, or the test above could not fail.
TEST(CriticalKv, LongValuesComeBeforeShortOnes) {
  Case c(200, test_seed());
  for (int row = 0; row < 200; ++row)
    for (int pair = 0; pair < kPairs; ++pair) c.cache.set(pair, row, row % 2 == 0 ? 1.0f : 0.25f);
  run_press(parse_press("criticalkv(random(ratio=0.5))"), c.cache.pool, c.cache.sequence);
  for (const auto& tokens : tokens_held(c.cache.sequence)) {
    ASSERT_EQ(tokens.size(), 100u);
    const auto n_long = std::count_if(tokens.begin(), tokens.end(), [](int t) { return t % 2 == 0; });
    EXPECT_GE(n_long, 62) << "about 25 of 50 by score, then 50 of the other 75; by scores alone about 50";
  }
}

TEST(CriticalKv, FirstShareOneIsTheWrappedPressAndZeroGoesByProductsAlone) {
  RandomCache alone(150, test_seed());
  run_press(parse_press("cur(ratio=0.7)"), alone.pool, alone.sequence);
  RandomCache whole(150, test_seed());
  run_press(parse_press("criticalkv(cur(ratio=0.7), first_share=1)"), whole.pool, whole.sequence);
  EXPECT_EQ(tokens_held(whole.sequence), tokens_held(alone.sequence));

  Case c(150, test_seed());
  const auto cur = make_press(parse_press("cur(ratio=0.7)"));
  std::vector<HeadScores> scores;
  std::vector<Doubles> norms(kPairs);
  for (int pair = 0; pair < kPairs; ++pair) {
    scores.push_back(cur->score(c.layer(pair / kCacheHeads))[pair % kCacheHeads]);
    for (int row = 0; row < 150; ++row) norms[pair].push_back(c.norm(pair, row));
  }
  run_press(parse_press("criticalkv(cur(ratio=0.7), first_share=0)"), c.cache.pool, c.cache.sequence);
  const int n_keep = static_cast<int>(150 * (1 - 0.7));
  for (int pair = 0; pair < kPairs; ++pair)
    expect_kept(tokens_held(c.cache.sequence)[pair], scores[pair], norms[pair], n_keep, 0);
}

TEST(CriticalKv, AroundAdaKvTheCountsAreAdaKvs) {
  // Of one draw in twenty AdaKV gives both heads the same count: other rows are drawn then.
  uint64_t seed = test_seed();
  Tokens even(2);
  for (int tries = 0; tries < 50 && even[0].size() == even[1].size(); ++tries) {
    RandomCache alone(200, ++seed);
    run_press(parse_press("adakv(cur(ratio=0.6))"), alone.pool, alone.sequence);
    even = tokens_held(alone.sequence);
  }
  Case c(200, seed);
  const auto cur = make_press(parse_press("cur(ratio=0.6)"));
  std::vector<HeadScores> scores;
  std::vector<Doubles> norms(kPairs);
  for (int pair = 0; pair < kPairs; ++pair) {
    scores.push_back(cur->score(c.layer(pair / kCacheHeads))[pair % kCacheHeads]);
    for (int row = 0; row < 200; ++row) norms[pair].push_back(c.norm(pair, row));
  }
  run_press(parse_press("criticalkv(adakv(cur(ratio=0.6)))"), c.cache.pool, c.cache.sequence);
  const Tokens kept = tokens_held(c.cache.sequence);
  EXPECT_NE(kept, even);
  EXPECT_NE(even[0].size(), even[1].size());
  for (int pair = 0; pair < kPairs; ++pair) {
    const int n_keep = static_cast<int>(even[pair].size());
    expect_kept(kept[pair], scores[pair], norms[pair], n_keep, std::max(1, n_keep / 2));
  }
}

// With scores that are all the same, and rows of NaN, infinities and numbers whose norm overflows.
TEST(CriticalKv, RowsThatAreNotFiniteGoFirstAndTakeNobodyAlong) {
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 3e38f}) {
    Case c(100, test_seed());
    for (int row = 10; row < 50; ++row)
      for (int pair = 0; pair < kPairs; ++pair) c.cache.set(pair, row, bad);
    run_press(parse_press("criticalkv(streaming_llm(ratio=0.5, n_sink=0))"), c.cache.pool, c.cache.sequence);
    for (const auto& tokens : tokens_held(c.cache.sequence)) {
      ASSERT_EQ(tokens.size(), 50u);
      for (const int32_t token : tokens) EXPECT_TRUE(token < 10 || token >= 50) << bad << ' ' << token;
    }
    // More stay than are finite.
    Case worse(100, test_seed());
    for (int row = 0; row < 98; ++row)
      for (int pair = 0; pair < kPairs; ++pair) worse.cache.set(pair, row, bad);
    run_press(parse_press("criticalkv(streaming_llm(budget=30))"), worse.cache.pool, worse.cache.sequence);
    for (const auto& tokens : tokens_held(worse.cache.sequence)) EXPECT_EQ(tokens.size(), 30u);
  }
}

TEST(CriticalKv, ABudgetBeyondThePromptAndRatioZeroKeepAll) {
  for (const char* text : {"criticalkv(random(budget=1000))", "criticalkv(random(ratio=0))"}) {
    Case c(60, test_seed());
    run_press(parse_press(text), c.cache.pool, c.cache.sequence);
    for (const auto& tokens : tokens_held(c.cache.sequence)) EXPECT_EQ(tokens, all_rows(60));
  }
}

TEST(CriticalKv, ThreadsChangeNothing) {
  RandomCache one(300, test_seed()), three(300, test_seed());
  run_press(parse_press("criticalkv(cur(ratio=0.6))"), one.pool, one.sequence, false, 1);
  run_press(parse_press("criticalkv(cur(ratio=0.6))"), three.pool, three.sequence, false, 3);
  EXPECT_EQ(tokens_held(one.sequence), tokens_held(three.sequence));
}

TEST(CriticalKv, WhatItCannotWrapOrBeWrappedByIsRefused) {
  for (const char* text :
       {"adakv(criticalkv(knorm(ratio=0.5)))", "criticalkv(chunkkv(knorm(ratio=0.5)))",
        "criticalkv(criticalkv(knorm(ratio=0.5)))", "criticalkv(knorm(ratio=0.5), epsilon=-1)"})
    EXPECT_THROW(make_press(parse_press(text)), Error) << text;
  const PressNeeds needs = make_press(parse_press("criticalkv(snapkv(ratio=0.5))"))->needs();
  EXPECT_TRUE(needs.values && needs.output_weights && needs.keys);
  EXPECT_EQ(needs.last_queries, 64);
  EXPECT_THROW(check_needs("criticalkv", needs, {.keys = true, .values = true, .last_queries = 64}), Error);
}

}  // namespace
}  // namespace fastcache::press
