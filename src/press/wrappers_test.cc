// SPDX-License-Identifier: Apache-2.0
// Presses around presses: the rule of each in plain loops, and what becomes of pages.
#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

// Ada-KV: each head's best `safe` rows, then one after the other the best of all heads' others.
Tokens adakv_by_loops(const RandomCache& cache, const Press& press, int n_even, int safe) {
  Tokens tokens(kPairs);
  for (int layer = 0; layer < kCacheLayers; ++layer) {
    const LayerScores scores = press.score(cache.layer(layer));
    std::vector<std::vector<bool>> taken(kCacheHeads);
    const auto take_best = [&](int from, int to) {
      int best_head = -1, best_row = -1;
      for (int head = from; head < to; ++head)
        for (int row = 0; row < static_cast<int>(scores[head].size()); ++row)
          if (!taken[head][row] && (best_head < 0 || scores[head][row] > scores[best_head][best_row])) {
            best_head = head;
            best_row = row;
          }
      taken[best_head][best_row] = true;
    };
    for (int head = 0; head < kCacheHeads; ++head) {
      taken[head].resize(scores[head].size());
      for (int i = 0; i < safe; ++i) take_best(head, head + 1);
    }
    for (int i = 0; i < kCacheHeads * (n_even - safe); ++i) take_best(0, kCacheHeads);
    for (int head = 0; head < kCacheHeads; ++head)
      for (size_t row = 0; row < taken[head].size(); ++row)
        if (taken[head][row]) tokens[layer * kCacheHeads + head].push_back(static_cast<int32_t>(row));
  }
  return tokens;
}

TEST(AdaKv, HeadsCompeteButForWhatIsTheirs) {
  for (const int n : {1, 3, 40, 200})
    for (const double ratio : {0.0, 0.3, 0.8, 0.99})
      for (const double safeguard : {0.0, 0.2, 1.0}) {
        RandomCache cache(n, test_seed() + n);
        const auto knorm = make_press(parse_press("knorm(ratio=0.5)"));
        const int even = std::max(1, static_cast<int>(n * (1 - ratio)));
        const int safe = std::max(1, static_cast<int>(even * safeguard));
        const Tokens expected = adakv_by_loops(cache, *knorm, even, safe);
        PressParams params = parse_press("adakv(knorm)");
        params.ratio = ratio;
        params.numbers["safeguard"] = safeguard;
        run_press(params, cache.pool, cache.sequence);
        EXPECT_EQ(tokens_held(cache.sequence), expected) << n << ' ' << ratio << ' ' << safeguard;
      }
}

// One head's keys are far shorter than the others': it gets all that is not theirs for certain, and the pages
// of the others are free.
TEST(AdaKv, PagesAreFreedHeadByHead) {
  const int n = 320;
  RandomCache cache(n, test_seed());
  const auto per_page = static_cast<size_t>(cache.sequence.shape().rows());
  for (int row = 0; row < n; ++row) cache.set(1, row, 1e-3f);
  const size_t free_before = cache.pool.free_pages();
  const Tokens tokens = kept("adakv(knorm(budget=100))", cache);
  EXPECT_EQ(tokens[0].size(), 20u);
  EXPECT_EQ(tokens[1].size(), 180u);
  EXPECT_EQ(count_rows(tokens), kPairs * 100);
  const size_t before = kPairs * ((n + per_page - 1) / per_page);
  EXPECT_EQ(cache.pool.free_pages() - free_before, before - pages_by_formula(cache.sequence));
  EXPECT_EQ(cache.sequence.table(0, 0).entries.size(), (20 + per_page - 1) / per_page);
  check_consistency(cache.pool, std::vector<const kv::Sequence*>{&cache.sequence}, {});
}

TEST(AdaKv, SinksOfAllHeadsAreWithinTheirOwnShare) {
  for (const auto& tokens : kept("adakv(streaming_llm(budget=20, n_sink=40))", 100))
    EXPECT_GE(tokens.size(), 4u);
}

TEST(AdaKv, RowsThatAreNotFiniteDoNotCostOthersTheirRows) {
  RandomCache cache(100, test_seed());
  for (int row = 0; row < 100; ++row) cache.set(0, row, std::nanf(""));
  const Tokens tokens = kept("adakv(knorm(ratio=0.5))", cache);
  EXPECT_EQ(tokens[0].size(), 10u);
  EXPECT_EQ(tokens[1].size(), 90u);
}

TEST(PerLayer, EachLayerHasItsRatio) {
  const Tokens tokens = kept("per_layer(knorm, ratios=[0, 0.5, 0.9])", 200);
  for (int head = 0; head < kCacheHeads; ++head) {
    EXPECT_EQ(tokens[head].size(), 200u);
    EXPECT_EQ(tokens[2 + head], kept("knorm(ratio=0.5)", 200)[2 + head]);
    EXPECT_EQ(tokens[4 + head], kept("knorm(ratio=0.9)", 200)[4 + head]);
  }
}

// By hand: compressed by the first press, then all rows that are left by the second.
TEST(Composed, TheSecondSeesWhatTheFirstKept) {
  const std::pair<const char*, const char*> pairs[] = {
      {"knorm(ratio=0.5)", "streaming_llm(ratio=0.5, n_sink=2)"},
      {"keydiff(ratio=0.3)", "keydiff(ratio=0.5)"},
      {"adakv(knorm(ratio=0.4))", "cur(budget=20)"},
      {"streaming_llm(budget=90)", "adakv(keydiff(ratio=0.5))"},
      {"knorm(ratio=0.5)", "chunkkv(cur(ratio=0.5))"},
      {"knorm(ratio=0.5)", "snapkv(ratio=0.4, window=16)"},
      {"adakv(knorm(ratio=0.4))", "tova(ratio=0.5)"},
      {"keydiff(budget=90)", "expected_attention(ratio=0.5)"},
      {"snapkv(ratio=0.4, window=16)", "adakv(observed_attention(ratio=0.5))"},
      {"random(ratio=0.5, seed=3)", "composed(none, chunk(knorm(ratio=0.2), chunk_length=16))"},
  };
  for (const auto& [first, second] : pairs) {
    RandomCache by_hand(150, test_seed());
    kept(first, by_hand);
    const Tokens expected = kept(second, by_hand);
    RandomCache cache(150, test_seed());
    EXPECT_EQ(kept(fmt::format("composed({}, {})", first, second), cache), expected)
        << first << ' ' << second;
  }
}

TEST(Composed, TheNextTurnTouchesOnlyItsRows) {
  for (const char* text : {"composed(knorm(ratio=0.5), keydiff(ratio=0.5))",
                           "composed(knorm(ratio=0.5), snapkv(ratio=0.5, window=4))"}) {
    RandomCache cache(100, test_seed());
    const Tokens first = kept(text, cache);
    cache.append(40, test_seed() + 1);
    const Tokens both = kept(text, cache, true);
    for (int pair = 0; pair < kPairs; ++pair) {
      ASSERT_EQ(both[pair].size(), 35u);
      EXPECT_TRUE(std::equal(first[pair].begin(), first[pair].end(), both[pair].begin()));
      EXPECT_GE(both[pair][25], 100);
    }
  }
}

TEST(Wrappers, ThreadsChangeNothing) {
  for (const char* text :
       {"adakv(keydiff(ratio=0.6))", "chunkkv(lagkv(ratio=0.6, lag=16))",
        "chunk(cur(ratio=0.6), chunk_length=50)", "composed(keydiff(ratio=0.3), adakv(cur(ratio=0.5)))",
        "composed(knorm(ratio=0.3), adakv(expected_attention(ratio=0.5)))"}) {
    const Tokens one = kept(text, 150);
    RandomCache cache(150, test_seed() + 150);
    run_press(parse_press(text), cache.pool, cache.sequence, false, 2);
    EXPECT_EQ(tokens_held(cache.sequence), one) << text;
  }
}

}  // namespace
}  // namespace fastcache::press
