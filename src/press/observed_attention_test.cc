// SPDX-License-Identifier: Apache-2.0
// observed_attention beside its formula in plain loops, and the sums that it goes by.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "press/query_attention.h"
#include "press/query_test_data.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::PagePool;
using kv::Sequence;
using Doubles = std::vector<double>;

constexpr kv::CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::f32};

// The turn's queries observed in chunks, rows of later chunks already there or not: they are masked.
void observe(const PagePool& pool, const Sequence& sequence, RandomTurn& turn, bool new_rows_only,
             std::span<const int> chunks) {
  model::QueryRecord& record = turn.record;
  const model::LastQueries all = record.last;
  const int n_heads = record.attention.n_heads, end = all.first_token() + all.n_tokens();
  record.received = {2, 2, all.first_token(), end};
  int begin = all.first_token();
  for (size_t i = 0; begin < end; ++i) {
    const int n = std::min(end - begin, chunks[i % chunks.size()]);
    record.chunk = {2, n_heads, kv::kTestHeadDim, begin, begin + n};
    for (int layer = 0; layer < 2; ++layer) {
      for (int token = begin; token < begin + n; ++token)
        record.chunk.set(layer, token, all.at(layer, token));
      AttentionScratch scratch;
      observe_attention({pool, sequence, layer, new_rows_only, &record}, scratch, record);
    }
    begin += n;
  }
}

void expect_formula(const LayerInput& layer) {
  const LayerScores scores = make_press({.name = "observed_attention", .ratio = 0.5})->score(layer);
  const model::LastQueries& last = layer.record()->last;
  const int end = last.first_token() + last.n_tokens();
  const int group = layer.record()->attention.n_heads / 2;
  for (int head = 0; head < 2; ++head) {
    Doubles sums(layer.n_rows(head));
    for (int token = last.first_token(); token < end; ++token)
      for (int g = 0; g < group; ++g) {
        const Doubles weights = plain_attention(layer, head * group + g, token);
        for (size_t row = 0; row < sums.size(); ++row) sums[row] += weights[layer.n_staying(head) + row];
      }
    for (int row = 0; row < layer.n_rows(head); ++row) {
      const int n_saw = end - std::max(layer.token(head, row), last.first_token());
      const double right = sums[row] / n_saw / group;
      ASSERT_NEAR(scores[head][row], right, 1e-3 * right) << "head " << head << " row " << row;
    }
  }
}

TEST(ObservedAttention, ScoresAreTheFormulaS) {
  for (const RandomQueries& queries : {RandomQueries{}, {.group = 1}, {.window = 30}, {.softcap = 2.0f}})
    for (const int n : {1, 70, 150}) {
      SCOPED_TRACE(testing::Message() << n << " tokens, seed " << test_seed());
      PagePool pool{kv::test_pool(500, 0, {kv::KvType::f32})};
      Sequence sequence{pool, kShape};
      RandomTurn turn(sequence, test_seed(), n, n, queries);
      observe(pool, sequence, turn, false, std::vector<int>{50});
      for (int layer = 0; layer < 2; ++layer) expect_formula({pool, sequence, layer, false, &turn.record});
    }
}

TEST(ObservedAttention, ChunksDoNotChangeABit) {
  PagePool pool{kv::test_pool(500, 0, {kv::KvType::f32})};
  Sequence sequence{pool, kShape};
  RandomTurn turn(sequence, test_seed(), 200, 200);
  observe(pool, sequence, turn, false, std::vector<int>{200});
  const Doubles whole = turn.record.received.sums;
  for (const auto& chunks : {std::vector<int>{1}, {7, 64, 2}, {64}, {100}}) {
    observe(pool, sequence, turn, false, chunks);
    EXPECT_EQ(turn.record.received.sums, whole) << chunks[0];
  }
}

// Heads of which nothing was removed have all their rows as candidates, the others only the new ones.
TEST(ObservedAttention, TheNextTurnCountsItsOwnQueries) {
  PagePool pool{kv::test_pool(500, 0, {kv::KvType::f32})};
  Sequence sequence{pool, kShape};
  const RandomTurn first(sequence, test_seed(), 90, 1);
  ASSERT_TRUE(sequence.keep_rows(0, 1, std::vector<int32_t>{0, 5, 6, 40, 89}));
  RandomTurn next(sequence, test_seed() + 1, 60, 60);
  observe(pool, sequence, next, true, std::vector<int>{25});
  for (int layer = 0; layer < 2; ++layer) expect_formula({pool, sequence, layer, true, &next.record});
}

}  // namespace
}  // namespace fastcache::press
