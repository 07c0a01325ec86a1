// SPDX-License-Identifier: Apache-2.0
// Presses that work in stretches of a prompt, chunkkv and chunk: their rules in plain loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

std::vector<int32_t> range(int begin, int end) {
  std::vector<int32_t> tokens;
  for (int token = begin; token < end; ++token) tokens.push_back(token);
  return tokens;
}

TEST(ChunkKv, WholeChunksWithTheHighestMeanStayInAllHeads) {
  for (const int n : {100, 110, 205}) {
    RandomCache cache(n, test_seed() + n);
    const auto knorm = make_press(parse_press("knorm(ratio=0.5)"));
    const int n_chunks = (n + 19) / 20;
    Tokens expected(kPairs);
    const int n_kept = n / 2;
    for (int layer = 0; layer < kCacheLayers; ++layer) {
      const LayerScores scores = knorm->score(cache.layer(layer));
      std::vector<std::pair<double, int>> means;
      for (int c = 0; c < n_chunks; ++c) {
        const int begin = c * 20, end = std::min(n, begin + 20);
        double sum = 0;
        for (int row = begin; row < end; ++row) sum += scores[0][row] + scores[1][row];
        means.emplace_back(-sum / (end - begin), c);
      }
      std::sort(means.begin(), means.end());
      std::vector<int32_t> rows;
      for (const auto& [mean, c] : means)
        for (int row = c * 20; row < std::min(n, c * 20 + 20); ++row)
          if (static_cast<int>(rows.size()) < n_kept) rows.push_back(row);
      std::sort(rows.begin(), rows.end());
      expected[layer * 2] = expected[layer * 2 + 1] = rows;
    }
    EXPECT_EQ(kept("chunkkv(knorm(ratio=0.5))", cache), expected) << n;
  }
}

TEST(ChunkKv, ABudgetBelowAChunkKeepsItsFront) {
  for (const auto& tokens : kept("chunkkv(streaming_llm(budget=7, n_sink=0))", 100))
    EXPECT_EQ(tokens, range(80, 87));
  for (const auto& tokens : kept("chunkkv(knorm(ratio=0.5))", 9)) EXPECT_EQ(tokens, range(0, 4));
}

TEST(ChunkKv, AChunkWithARowThatIsNotFiniteGoesFirst) {
  RandomCache cache(100, test_seed());
  cache.set(3, 45, std::nanf(""));
  const Tokens tokens = kept("chunkkv(knorm(ratio=0.2))", cache);
  for (const int pair : {2, 3}) {
    std::vector<int32_t> expected = range(0, 40);
    for (int token = 60; token < 100; ++token) expected.push_back(token);
    EXPECT_EQ(tokens[pair], expected);
  }
}

TEST(ChunkKv, HeadsThatHoldDifferentRowsKeepTheSameChunks) {
  RandomCache cache(200, test_seed());
  ASSERT_TRUE(cache.sequence.keep_rows(0, 0, range(0, 100)));
  ASSERT_TRUE(cache.sequence.keep_rows(0, 1, range(60, 200)));
  const Tokens tokens = kept("chunkkv(streaming_llm(ratio=0.5, n_sink=0))", cache);
  // A score is a row's index here. The chunks' means, over both heads' rows, order them by their first tokens
  // as 180, 160, 140, 120, 80, 40, 100, 60, 20, 0.
  std::vector<int32_t> first = range(40, 70), second = range(120, 130);
  for (const int32_t token : range(80, 100)) first.push_back(token);
  for (const int32_t token : range(140, 200)) second.push_back(token);
  EXPECT_EQ(tokens[0], first);
  EXPECT_EQ(tokens[1], second);
}

TEST(Chunk, EachStretchIsScoredAndSelectedByItself) {
  for (const char* inner : {"knorm", "keydiff", "cur(n_sink=0)"}) {
    RandomCache cache(90, test_seed());
    Tokens expected(kPairs);
    const auto whole = make_press(parse_press(inner, {.ratio = 0.5}));
    for (int layer = 0; layer < kCacheLayers; ++layer)
      for (int begin = 0; begin < 90; begin += 30) {
        const auto stretch =
            cache.layer(layer).narrowed({range(begin, begin + 30), range(begin, begin + 30)});
        const LayerScores scores = whole->score(stretch);
        for (int head = 0; head < kCacheHeads; ++head)
          for (const int32_t row : best_rows_ascending(scores[head], 10))
            expected[layer * kCacheHeads + head].push_back(begin + row);
      }
    PressParams params = parse_press(std::string{"chunk("} + inner + ", chunk_length=30)");
    params.budget = 30;
    run_press(params, cache.pool, cache.sequence);
    EXPECT_EQ(tokens_held(cache.sequence), expected) << inner;
  }
}

TEST(Chunk, SharesAreProportionalAndTheirSumExact) {
  const auto count = [](const std::vector<int32_t>& tokens, int begin, int end) {
    return std::count_if(tokens.begin(), tokens.end(), [&](int t) { return t >= begin && t < end; });
  };
  for (const auto& tokens : kept("chunk(knorm(budget=30), chunk_length=64)", 160)) {
    EXPECT_EQ(tokens.size(), 30u);
    EXPECT_NEAR(static_cast<double>(count(tokens, 0, 64)), 12, 1);
    EXPECT_NEAR(static_cast<double>(count(tokens, 64, 128)), 12, 1);
    EXPECT_NEAR(static_cast<double>(count(tokens, 128, 160)), 6, 1);
  }
  for (const auto& tokens : kept("chunk(knorm(budget=2), chunk_length=5)", 100)) EXPECT_EQ(tokens.size(), 2u);
}

}  // namespace
}  // namespace fastcache::press
