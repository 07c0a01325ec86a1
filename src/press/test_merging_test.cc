// SPDX-License-Identifier: Apache-2.0
// New rows with biases, from the press to the attention: rows of equal keys folded into one change nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "attention/attention_kernel.h"
#include "base/test_seed.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

constexpr int kGroup = 2;

CompressResult run(const char* text, RandomCache& cache, bool new_rows_only = false) {
  return run_press(parse_press(text), cache.pool, cache.sequence, new_rows_only);
}

std::vector<float> biases(const RandomCache& cache, int pair) {
  const LayerInput layer = cache.layer(pair / kCacheHeads);
  std::vector<float> bias(layer.n_rows(pair % kCacheHeads));
  layer.read_biases(pair % kCacheHeads, 0, static_cast<int>(bias.size()), bias.data());
  return bias;
}

// Each row gets the key of its kind, one of n; values stay as they are.
void set_kinds(RandomCache& cache, int n_kinds) {
  for (int pair = 0; pair < kPairs; ++pair)
    for (size_t row = 0; row < cache.rows[pair].size(); ++row) {
      std::vector<float>& contents = cache.rows[pair][row];
      std::copy_n(cache.rows[pair][row % static_cast<size_t>(n_kinds)].begin(), kCacheDim, contents.begin());
      RandomCache::write(cache.sequence.row(pair / kCacheHeads, pair % kCacheHeads, static_cast<int>(row)),
                         contents);
    }
}

// [n_heads * head_dim]: attention of one query per head over all rows of a layer.
std::vector<float> attend(const attention::AttentionKernel& kernel, const RandomCache& cache, int layer,
                          float softcap, bool with_biases = true) {
  std::vector<std::vector<kv::TableEntry>> entries;
  std::vector<kv::HeadRows> heads;
  for (int head = 0; head < kCacheHeads; ++head) {
    heads.push_back(cache.sequence.head_rows(layer, head));
    entries.emplace_back(heads[head].entries.begin(), heads[head].entries.end());
    for (kv::TableEntry& entry : entries[head])
      if (!with_biases) entry.extras = nullptr;
  }
  for (int head = 0; head < kCacheHeads; ++head) heads[head].entries = entries[head];
  std::mt19937_64 random{99};
  std::normal_distribution<float> normal;
  std::vector<float> q(kCacheHeads * kGroup * kCacheDim), out(q.size());
  for (float& x : q) x = normal(random);
  const attention::AttentionSequence sequence{.n_queries = 1, .heads = heads};
  attention::AttentionWork work(kernel);
  work.plan({.shape = {.n_heads = kCacheHeads * kGroup,
                       .n_kv_heads = kCacheHeads,
                       .head_dim = kCacheDim,
                       .scale = 0.18f,
                       .softcap = softcap},
             .pages = cache.pool.memory(),
             .sequences = std::span(&sequence, 1),
             .q = q.data(),
             .q_stride = q.size(),
             .out = out.data(),
             .out_stride = out.size()},
            1);
  TaskCounter tasks;
  work.run({0, 1, &tasks});
  return out;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

TEST(TestMerging, FoldingEqualKeysChangesNoAttention) {
  for (const attention::AttentionKernel* kernel : attention::attention_kernels())
    for (const float softcap : {0.0f, 3.0f}) {
      RandomCache cache(200, test_seed());
      set_kinds(cache, 8);
      std::vector<std::vector<float>> before;
      for (int layer = 0; layer < kCacheLayers; ++layer)
        before.push_back(attend(*kernel, cache, layer, softcap));
      EXPECT_GT(run("test_merging(ratio=0.5, seed=1)", cache).bytes_freed, 0);
      run("test_merging(ratio=0.6, seed=2)", cache);
      double without = 0;
      for (int layer = 0; layer < kCacheLayers; ++layer) {
        EXPECT_LT(difference(attend(*kernel, cache, layer, softcap), before[layer]), 2e-5) << kernel->name;
        without = std::max(without, difference(attend(*kernel, cache, layer, softcap, false), before[layer]));
      }
      EXPECT_GT(without, 1e-2) << "the biases must matter";
    }
}

TEST(TestMerging, TwoRowsOfOneKeyBecomeOneWithLnTwo) {
  RandomCache cache(2, test_seed());
  set_kinds(cache, 1);
  run("test_merging(budget=1)", cache);
  for (int pair = 0; pair < kPairs; ++pair) {
    ASSERT_EQ(cache.sequence.rows_held(pair / kCacheHeads, pair % kCacheHeads), 1);
    EXPECT_EQ(biases(cache, pair)[0], static_cast<float>(std::log(2.0)));
    std::vector<float> k(kCacheDim), v(kCacheDim);
    cache.layer(pair / kCacheHeads).read_rows(pair % kCacheHeads, 0, 1, k.data(), v.data());
    for (int d = 0; d < kCacheDim; ++d) {
      EXPECT_EQ(k[d], cache.rows[pair][0][d]);
      EXPECT_NEAR(v[d], (cache.v(pair, 0, d) + cache.v(pair, 1, d)) / 2, 1e-6);
    }
  }
}

// The formula in plain loops, over random keys.
TEST(TestMerging, EachRowGoesIntoTheNearestThatStays) {
  RandomCache cache(120, test_seed());
  run("test_merging(ratio=0.7)", cache);
  const Tokens kept = tokens_held(cache.sequence);
  for (int pair = 0; pair < kPairs; ++pair) {
    std::vector<std::vector<double>> sums(120, std::vector<double>(2 * kCacheDim));
    std::vector<double> mass(120);
    for (int row = 0; row < 120; ++row) {
      double nearest = 1e300;
      int into = row;
      for (const int32_t token : kept[pair]) {
        double distance = 0;
        for (int d = 0; d < kCacheDim; ++d)
          distance += std::pow(cache.k(pair, row, d) - cache.k(pair, token, d), 2);
        if (distance < nearest) into = token;
        nearest = std::min(nearest, distance);
      }
      mass[into] += 1;
      for (int d = 0; d < 2 * kCacheDim; ++d) sums[into][d] += cache.rows[pair][row][d];
    }
    const std::vector<float> bias = biases(cache, pair);
    std::vector<float> k(kCacheDim), v(kCacheDim);
    for (size_t i = 0; i < kept[pair].size(); ++i) {
      const int token = kept[pair][i];
      ASSERT_NEAR(bias[i], std::log(mass[token]), 1e-6) << "pair " << pair << " row " << i;
      cache.layer(pair / kCacheHeads)
          .read_rows(pair % kCacheHeads, static_cast<int>(i), 1, k.data(), v.data());
      for (int d = 0; d < kCacheDim; ++d) {
        ASSERT_NEAR(k[d], sums[token][d] / mass[token], 1e-5);
        ASSERT_NEAR(v[d], sums[token][kCacheDim + d] / mass[token], 1e-5);
      }
    }
  }
}

TEST(TestMerging, NoMassIsLostWhenAllIsCompressedAgain) {
  RandomCache cache(100, test_seed());
  for (int turn = 0; turn < 4; ++turn) {
    run("test_merging(ratio=0.4)", cache);
    for (int pair = 0; pair < kPairs; ++pair) {
      double mass = 0;
      for (const float b : biases(cache, pair)) mass += std::exp(static_cast<double>(b));
      EXPECT_NEAR(mass, 100 + 30 * turn, 1e-3);
    }
    cache.append(30, test_seed() + 1);
    check_consistency(cache.pool, std::vector<const kv::Sequence*>{&cache.sequence}, {});
  }
}

TEST(TestMerging, TheNextTurnLeavesEarlierRowsAndBiases) {
  RandomCache cache(100, test_seed());
  run("test_merging(ratio=0.7)", cache);
  std::vector<std::vector<float>> before(kPairs);
  for (int pair = 0; pair < kPairs; ++pair) {
    before[pair].resize(30 * kCacheDim);
    cache.layer(pair / kCacheHeads).read_keys(pair % kCacheHeads, 0, 30, before[pair].data());
    const std::vector<float> bias = biases(cache, pair);
    before[pair].insert(before[pair].end(), bias.begin(), bias.end());
  }
  cache.append(40, test_seed() + 1);
  run("test_merging(ratio=0.5)", cache, true);
  for (int pair = 0; pair < kPairs; ++pair) {
    std::vector<float> after(30 * kCacheDim);
    cache.layer(pair / kCacheHeads).read_keys(pair % kCacheHeads, 0, 30, after.data());
    const std::vector<float> bias = biases(cache, pair);
    ASSERT_EQ(bias.size(), 50U);
    after.insert(after.end(), bias.begin(), bias.begin() + 30);
    EXPECT_EQ(after, before[pair]);
    double mass = 0;
    for (const float b : bias) mass += std::exp(static_cast<double>(b));
    EXPECT_NEAR(mass, 140, 1e-3);
  }
}

TEST(TestMerging, RowsThatAreNotFiniteGoAloneOrStayAlone) {
  RandomCache cache(60, test_seed());
  for (const int row : {3, 30, 31}) cache.set(0, row, std::nanf(""));
  cache.set(0, 50, INFINITY);
  run("test_merging(ratio=0.5)", cache);
  double mass = 0;
  int n_bad = 0;
  std::vector<float> k(kCacheDim);
  const Tokens kept = tokens_held(cache.sequence);
  for (size_t i = 0; i < kept[0].size(); ++i) {
    cache.layer(0).read_keys(0, static_cast<int>(i), 1, k.data());
    const bool bad = kept[0][i] == 3 || kept[0][i] == 30 || kept[0][i] == 31 || kept[0][i] == 50;
    EXPECT_EQ(!std::isfinite(k[0]), bad) << kept[0][i];
    n_bad += bad ? 1 : 0;
    mass += std::exp(static_cast<double>(biases(cache, 0)[i]));
  }
  EXPECT_NEAR(mass, 56 + n_bad, 1e-3);
}

}  // namespace
}  // namespace fastcache::press
