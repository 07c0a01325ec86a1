// SPDX-License-Identifier: Apache-2.0
// Presses that look at queries, beside their formulas in plain loops.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/query_attention.h"
#include "press/query_test_data.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;
using Doubles = std::vector<double>;

constexpr kv::CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = KvType::f32};

struct Case {
  int n_tokens = 0;
  int window = 64;
  int kernel = 5;
  RandomQueries queries = {};
};

PressParams snapkv(const Case& c) {
  return {.name = "snapkv", .ratio = 0.5, .numbers = {{"window", c.window}, {"kernel", c.kernel}}};
}

// [candidates]: the formula; window rows are left at 0.
Doubles plain_snapkv(const LayerInput& layer, int head, const Case& c) {
  const model::LastQueries& last = layer.record()->last;
  const int end = last.first_token() + last.n_tokens(), first = end - std::min(c.window, last.n_tokens());
  Doubles mean(layer.n_rows(head));
  for (int token = first; token < end; ++token)
    for (int q = 0; q < c.queries.group; ++q) {
      const Doubles weights = plain_attention(layer, head * c.queries.group + q, token);
      for (size_t row = 0; row < mean.size(); ++row)
        mean[row] += weights[layer.n_staying(head) + row] / (end - first) / c.queries.group;
    }
  Doubles scores(mean.size());
  const auto before_window = [&](int row) {
    return row >= 0 && row < layer.n_rows(head) && layer.token(head, row) < first;
  };
  for (int row = 0; before_window(row); ++row)
    for (int i = row - c.kernel / 2; i <= row + c.kernel / 2; ++i)
      if (before_window(i)) scores[row] += mean[i] / c.kernel;
  return scores;
}

void expect_snapkv(const LayerInput& layer, const Case& c) {
  const LayerScores scores = make_press(snapkv(c))->score(layer);
  double highest = 0;
  for (int head = 0; head < 2; ++head)
    for (const double s : plain_snapkv(layer, head, c)) highest = std::max(highest, s);
  if (highest == 0) highest = 1;
  for (int head = 0; head < 2; ++head) {
    const Doubles right = plain_snapkv(layer, head, c);
    ASSERT_EQ(scores[head].size(), right.size());
    float last = static_cast<float>(highest * (1 - 1e-6));
    for (size_t row = 0; row < right.size(); ++row) {
      const bool recent = layer.token(head, static_cast<int>(row)) >= first_window_token(layer, c.window);
      const double expected = recent ? highest : right[row];
      ASSERT_NEAR(scores[head][row], expected, 1e-3 * expected) << "head " << head << " row " << row;
      if (!recent) continue;
      ASSERT_GT(scores[head][row], last) << "recent rows come before older ones";
      last = scores[head][row];
    }
  }
}

TEST(SnapKv, ScoresAreTheFormulaS) {
  const Case cases[] = {
      {.n_tokens = 300},
      {.n_tokens = 65},
      {.n_tokens = 200, .window = 16, .kernel = 1},
      {.n_tokens = 333, .window = 33, .kernel = 7, .queries = {.group = 1}},
      {.n_tokens = 100, .window = 90, .kernel = 99, .queries = {.group = 4}},
      {.n_tokens = 250, .window = 50, .queries = {.window = 70}},
      {.n_tokens = 150, .window = 20, .queries = {.softcap = 2.0f}},
      {.n_tokens = 40},  // all of it is window
      {.n_tokens = 1},
  };
  for (const Case& c : cases)
    for (const KvType type : {KvType::f32, KvType::bf16, KvType::int8}) {
      SCOPED_TRACE(testing::Message()
                   << c.n_tokens << " tokens, " << kv_type_name(type) << ", seed " << test_seed());
      PagePool pool{kv::test_pool(500, 0, {type})};
      Sequence sequence{pool, {.n_layers = 2, .n_kv_heads = 2, .type = type}};
      const RandomTurn turn(sequence, test_seed(), c.n_tokens, std::min(c.n_tokens, c.window), c.queries);
      for (int layer = 0; layer < 2; ++layer) expect_snapkv({pool, sequence, layer, false, &turn.record}, c);
    }
}

TEST(SnapKv, KeptRowsAreThoseOfTheFormula) {
  const Case c{.n_tokens = 400};
  PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
  Sequence sequence{pool, kShape};
  const RandomTurn turn(sequence, test_seed(), c.n_tokens, 64);
  std::vector<std::vector<int32_t>> right;
  for (int pair = 0; pair < 4; ++pair) {
    Doubles scores = plain_snapkv({pool, sequence, pair / 2, false, &turn.record}, pair % 2, c);
    std::fill(scores.end() - 64, scores.end(), 2.0);
    const std::vector<float> rounded(scores.begin(), scores.end());
    right.push_back(best_rows_ascending(rounded, 100));
  }
  ComputePool threads{2};
  const auto press = make_press(snapkv(c));
  compress({press.get(), {.ratio = 0.75}, &pool, &sequence, false, &turn.record}, threads);
  const Tokens kept = tokens_held(sequence);
  for (int pair = 0; pair < 4; ++pair) {
    std::vector<int32_t> differ;
    std::set_difference(kept[pair].begin(), kept[pair].end(), right[pair].begin(), right[pair].end(),
                        std::back_inserter(differ));
    EXPECT_EQ(kept[pair].size(), right[pair].size());
    EXPECT_LE(differ.size(), 1U) << "more than a tie";
    EXPECT_TRUE(
        std::includes(kept[pair].begin(), kept[pair].end(), right[pair].end() - 64, right[pair].end()));
  }
}

TEST(SnapKv, ABudgetBelowTheWindowKeepsTheMostRecent) {
  for (const int n_tokens : {30, 200})
    for (const char* name : {"snapkv", "pyramidkv"}) {
      PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
      Sequence sequence{pool, kShape};
      const RandomTurn turn(sequence, test_seed(), n_tokens, std::min(64, n_tokens));
      ComputePool threads{1};
      const auto press = make_press({.name = name, .budget = 10});
      compress({press.get(), {.rows = 10}, &pool, &sequence, false, &turn.record}, threads);
      for (const auto& tokens : tokens_held(sequence))
        EXPECT_EQ(tokens, (std::vector<int32_t>{n_tokens - 10, n_tokens - 9, n_tokens - 8, n_tokens - 7,
                                                n_tokens - 6, n_tokens - 5, n_tokens - 4, n_tokens - 3,
                                                n_tokens - 2, n_tokens - 1}));
    }
}

// The queries of the new turn look at the compressed rows too.
TEST(SnapKv, TheNextTurnIsScoredWithTheRowsInFront) {
  PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
  Sequence sequence{pool, kShape};
  const RandomTurn first(sequence, test_seed(), 150, 64);
  ComputePool threads{1};
  const auto press = make_press({.name = "pyramidkv", .ratio = 0.4, .numbers = {{"window", 8}}});
  compress({press.get(), {.ratio = 0.4}, &pool, &sequence, false, &first.record}, threads);
  ASSERT_NE(sequence.rows_held(0, 0), sequence.rows_held(1, 0));
  for (const int n_new : {90, 12, 1}) {
    const int n_kept = std::min(n_new, 64);
    const RandomTurn next(sequence, test_seed() + 1, n_new, n_kept);
    for (const int layer : {0, 1})
      expect_snapkv({pool, sequence, layer, true, &next.record}, {.n_tokens = n_new});
    compress({press.get(), {.ratio = 0.4}, &pool, &sequence, true, &next.record}, threads);
  }
}

TEST(SnapKv, AnEvenKernelAndAWrongWindowAreRefused) {
  for (const char* name : {"snapkv", "pyramidkv"}) {
    EXPECT_THROW(make_press({.name = name, .ratio = 0.5, .numbers = {{"kernel", 4}}}), Error);
    EXPECT_THROW(make_press({.name = name, .ratio = 0.5, .numbers = {{"window", 0}}}), Error);
    EXPECT_THROW(make_press({.name = name, .ratio = 0.5, .numbers = {{"window", 5000}}}), Error);
  }
}

TEST(Tova, ScoresAreTheMeanOfAllHeadsForTheLayer) {
  for (const int n_tokens : {1, 2, 130, 300}) {
    PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
    Sequence sequence{pool, kShape};
    const RandomTurn turn(sequence, test_seed(), n_tokens, 1);
    const auto press = make_press({.name = "tova", .ratio = 0.5});
    for (int layer = 0; layer < 2; ++layer) {
      const LayerInput input{pool, sequence, layer, false, &turn.record};
      Doubles right(n_tokens);
      for (int q = 0; q < 6; ++q) {
        const Doubles weights = plain_attention(input, q, n_tokens - 1);
        for (int row = 0; row < n_tokens; ++row) right[row] += weights[row] / 6;
      }
      const LayerScores scores = press->score(input);
      EXPECT_EQ(scores[0], scores[1]);
      for (int row = 0; row + 1 < n_tokens; ++row) ASSERT_NEAR(scores[0][row], right[row], 1e-3 * right[row]);
      EXPECT_EQ(std::max_element(scores[0].begin(), scores[0].end()), scores[0].end() - 1);
    }
    ComputePool threads{1};
    compress({press.get(), {.ratio = 0.7}, &pool, &sequence, false, &turn.record}, threads);
    const Tokens kept = tokens_held(sequence);
    EXPECT_EQ(kept[0], kept[1]);
    EXPECT_EQ(kept[2], kept[3]);
    EXPECT_EQ(kept[0].back(), n_tokens - 1);
  }
}

// What is not finite gets no vote and no attention, and nothing of the rest suffers.
TEST(QueryPresses, RowsAndQueriesThatAreNotFinite) {
  for (const char* name : {"snapkv", "tova", "pyramidkv", "expected_attention"}) {
    PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
    Sequence sequence{pool, kShape};
    RandomTurn turn(sequence, test_seed(), 200, 64);
    const std::vector<float> nan(kv::kTestHeadDim, NAN), infinite(kv::kTestHeadDim, INFINITY);
    const auto break_row = [&](int row, const std::vector<float>& with) {
      const kv::RowSlot slot = sequence.row(0, 0, row);
      write_row(slot.page, slot.type, kv::kTestHeadDim, slot.row, with.data(), with.data());
    };
    break_row(3, nan);
    break_row(70, infinite);
    break_row(199, nan);
    std::vector<float> query(6 * kv::kTestHeadDim, NAN);
    turn.record.last.set(0, 150, query.data());
    const auto press = make_press({.name = name, .ratio = 0.5});
    const LayerScores scores = press->score({pool, sequence, 0, false, &turn.record});
    for (size_t head = 0; head < scores.size(); ++head)
      for (size_t row = 0; row < scores[head].size(); ++row) {
        const bool broken = head == 0 && (row == 3 || row == 70 || row == 199);
        EXPECT_TRUE(broken || (std::isfinite(scores[head][row]) && scores[head][row] >= 0.0f));
      }
    EXPECT_GT(std::count_if(scores[0].begin(), scores[0].end(), [](float s) { return s > 0; }), 190);
    turn.record.last.set(0, 199, query.data());  // the last one: tova has nothing left to go by
    ComputePool threads{1};
    compress({press.get(), {.ratio = 0.5}, &pool, &sequence, false, &turn.record}, threads);
    EXPECT_EQ(count_rows(tokens_held(sequence)), 4 * 100) << name;
  }
}

TEST(QueryPresses, RatioZeroAndALargeBudgetKeepAll) {
  for (const char* name : {"snapkv", "tova", "pyramidkv", "expected_attention"})
    for (const Budget& budget : {Budget{.ratio = 0.0}, Budget{.rows = 5'000}}) {
      PagePool pool{kv::test_pool(500, 0, {KvType::f32})};
      Sequence sequence{pool, kShape};
      const RandomTurn turn(sequence, test_seed(), 150, 64);
      ComputePool threads{2};
      const auto press = make_press({.name = name, .ratio = 0.5});
      compress({press.get(), budget, &pool, &sequence, false, &turn.record}, threads);
      EXPECT_EQ(count_rows(tokens_held(sequence)), 4 * 150);
    }
}

}  // namespace
}  // namespace fastcache::press
