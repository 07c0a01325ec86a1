// SPDX-License-Identifier: Apache-2.0
// The formulas of the simple presses in plain loops, and what all presses owe.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;

constexpr kv::CacheShape kShape{.n_layers = 3, .n_kv_heads = 2, .type = KvType::bf16};

uint32_t story() { return static_cast<uint32_t>(test_seed() % 60000); }

// Tokens kept of n, the story written and compressed in one go or in pieces.
Tokens kept_tokens(const PressParams& params, int n, int chunk, int n_threads) {
  PagePool pool{kv::test_pool(500)};
  Sequence sequence{pool, kShape};
  for (int done = 0; done < n; done += chunk)
    EXPECT_TRUE(append_story(sequence, std::min(chunk, n - done), story()));
  run_press(params, pool, sequence, false, n_threads);
  return tokens_held(sequence);
}

TEST(AllPresses, ThreadsAndChunkingChangeNothing) {
  for (const PressRow* row : ratio_presses()) {
    const PressParams params = with_ratio(std::string{row->name}, 0.6);
    const Tokens whole = kept_tokens(params, 150, 150, 1);
    for (const auto& [n_threads, chunk] : {std::pair{1, 1}, {1, 64}, {2, 150}, {3, 7}})
      EXPECT_EQ(kept_tokens(params, 150, chunk, n_threads), whole) << row->name << ' ' << chunk;
  }
}

TEST(AllPresses, ScoresDoNotDependOnTheOrderOfLayers) {
  PagePool pool{kv::test_pool(500)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 90, story()));
  for (const PressRow* row : ratio_presses()) {
    const auto forward = make_press(with_ratio(std::string{row->name}, 0.6));
    const auto backward = make_press(with_ratio(std::string{row->name}, 0.6));
    const auto record = test_record(sequence, forward->needs());
    const auto input = [&](int layer) { return LayerInput{pool, sequence, layer, false, record.get()}; };
    std::vector<LayerScores> scores;
    for (int layer = 0; layer < 3; ++layer) scores.push_back(forward->score(input(layer)));
    for (int layer = 2; layer >= 0; --layer)
      EXPECT_EQ(backward->score(input(layer)), scores[layer]) << row->name;
  }
}

TEST(AllPresses, TheTotalIsThatOfEvenShares) {
  for (const PressRow* row : ratio_presses()) {
    if (!row->removes) continue;
    for (const int n : {1, 5, 16, 100, 333})
      for (const double ratio : {0.0, 0.25, 0.5, 0.8, 0.99}) {
        const Tokens tokens = kept_tokens(with_ratio(std::string{row->name}, ratio), n, n, 1);
        const int even = std::max(1, static_cast<int>(n * (1 - ratio)));
        EXPECT_EQ(count_rows(tokens), int64_t{6} * even) << row->name << ' ' << n << ' ' << ratio;
      }
    if (!takes_budget(*row)) continue;
    for (const int budget : {1, 20, 99})
      EXPECT_EQ(count_rows(kept_tokens(with_budget(std::string{row->name}, budget), 100, 100, 1)),
                6 * budget);
  }
}

TEST(Knorm, ScoresAreNegativeNormsInEveryElementType) {
  for (const KvType type : {KvType::bf16, KvType::int8, KvType::f32}) {
    PagePool pool{kv::test_pool(500, 0, {type})};
    Sequence sequence{pool, {.n_layers = 2, .n_kv_heads = 2, .type = type}};
    ASSERT_TRUE(append_story(sequence, 150, story()));
    const auto press = make_press(with_ratio("knorm", 0.5));
    for (int layer = 0; layer < 2; ++layer) {
      const LayerScores scores = press->score({pool, sequence, layer, false});
      for (int head = 0; head < 2; ++head)
        for (int row = 0; row < 150; ++row) {
          double sum = 0.0;
          const kv::TestRow stored = stored_row(sequence.row(layer, head, row));
          for (int d = 0; d < kv::kTestHeadDim; ++d) sum += static_cast<double>(stored[d]) * stored[d];
          const double norm = std::sqrt(sum);
          ASSERT_NEAR(scores[head][row], -norm, norm * 1e-6) << kv_type_name(type) << " row " << row;
        }
    }
  }
}

TEST(Knorm, KeepsTheShortestKeys) {
  PagePool pool{kv::test_pool(100)};
  Sequence sequence{pool, {.n_layers = 1, .n_kv_heads = 1, .type = KvType::bf16}};
  ASSERT_TRUE(append_story(sequence, 40, story()));
  const std::vector<float> zeros(kv::kTestHeadDim, 0.0f);
  for (const int row : {3, 17, 38}) {  // shorter than any test row
    const kv::RowSlot slot = sequence.row(0, 0, row);
    write_row(slot.page, slot.type, kv::kTestHeadDim, slot.row, zeros.data(), zeros.data());
  }
  run_press(with_budget("knorm", 3), pool, sequence);
  EXPECT_EQ(tokens_held(sequence)[0], (std::vector<int32_t>{3, 17, 38}));
}

TEST(StreamingLlm, KeepsSinksAndTheMostRecent) {
  for (const int n_sink : {0, 4, 10}) {
    PagePool pool{kv::test_pool(500)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 100, story()));
    PressParams params = with_budget("streaming_llm", 30);
    if (n_sink != 4) params.numbers["n_sink"] = n_sink;  // 4 is the default
    run_press(params, pool, sequence);
    std::vector<int32_t> expected = first_tokens(n_sink);
    for (int token = 100 - (30 - n_sink); token < 100; ++token) expected.push_back(token);
    for (const auto& tokens : tokens_held(sequence)) EXPECT_EQ(tokens, expected);
  }
}

TEST(StreamingLlm, ABudgetBelowTheSinksKeepsTheFirstOfThem) {
  const Tokens tokens = kept_tokens(with_budget("streaming_llm", 2), 100, 100, 1);
  EXPECT_EQ(tokens[0], first_tokens(2));
}

TEST(StreamingLlm, TheNextTurnHasNoSinksOfItsOwn) {
  PagePool pool{kv::test_pool(500)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, story()));
  run_press(with_budget("streaming_llm", 10), pool, sequence);
  ASSERT_TRUE(append_story(sequence, 40, story()));
  run_press(with_ratio("streaming_llm", 0.75), pool, sequence, true);
  std::vector<int32_t> expected{0, 1, 2, 3, 94, 95, 96, 97, 98, 99};
  for (int token = 130; token < 140; ++token) expected.push_back(token);
  for (const auto& tokens : tokens_held(sequence)) EXPECT_EQ(tokens, expected);
}

TEST(Random, IsEvenAndDiffersBySeedLayerAndHead) {
  const Tokens one = kept_tokens(with_ratio("random", 0.5, 1), 1000, 1000, 1);
  const Tokens other = kept_tokens(with_ratio("random", 0.5, 2), 1000, 1000, 1);
  EXPECT_EQ(kept_tokens(with_ratio("random", 0.5, 1), 1000, 1000, 1), one);
  EXPECT_NE(other, one);
  EXPECT_EQ(std::set<std::vector<int32_t>>(one.begin(), one.end()).size(), one.size());
  for (const auto& tokens : one) {  // the mean of 500 of 1,000 tokens: 5 standard deviations are about 46
    const double mean = std::accumulate(tokens.begin(), tokens.end(), 0.0) / 500.0;
    EXPECT_NEAR(mean, 499.5, 46.0);
  }
}

TEST(Random, ScoresBelongToTokensNotToRows) {
  PagePool pool{kv::test_pool(500)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 60, story()));
  const auto press = make_press(with_ratio("random", 0.5));
  const HeadScores before = press->score({pool, sequence, 1, false})[1];
  const std::vector<int32_t> rows{5, 6, 20, 33, 59};
  ASSERT_TRUE(sequence.keep_rows(1, 1, rows));
  const HeadScores after = press->score({pool, sequence, 1, false})[1];
  ASSERT_EQ(after.size(), rows.size());
  for (size_t r = 0; r < rows.size(); ++r) EXPECT_EQ(after[r], before[rows[r]]);
}

TEST(Uneven, SomeHeadsKeepAllAndOthersOneRow) {
  for (const double ratio : {0.3, 0.5, 0.8}) {
    const Tokens tokens = kept_tokens(with_ratio("test_uneven", ratio), 200, 200, 1);
    const auto with = [&](size_t n) {
      return std::count_if(tokens.begin(), tokens.end(), [n](const auto& t) { return t.size() == n; });
    };
    EXPECT_GE(with(200), 1);
    EXPECT_GE(with(1), 1);
    EXPECT_GE(with(200) + with(1), 5);  // at most one head lies between
  }
}

}  // namespace
}  // namespace fastcache::press
