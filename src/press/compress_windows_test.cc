// SPDX-License-Identifier: Apache-2.0
// Compression of layers with a sliding window: rows that no later query sees are no candidates and count
// nowhere, and it does not matter whether their pages were freed before.
#include <gtest/gtest.h>

#include <algorithm>

#include "press/prefill_record.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::PagePool;
using kv::Sequence;

constexpr kv::CacheShape kShape{.n_layers = 3, .n_kv_heads = 2, .type = kv::KvType::bf16};
constexpr int kWindow = 100, kTokens = 300, kFirstSeen = kTokens - kWindow + 1;

attention::LocalLayers local_layers() { return {.is_local = {true, false, true}, .window = kWindow}; }

CompressResult press_windows(const PressParams& params, PagePool& pool, Sequence& sequence,
                             bool new_rows_only = false) {
  ComputePool threads{2};
  const attention::LocalLayers local = local_layers();
  const auto press = make_press(params);
  const auto record = test_record(sequence, press->needs(), pool.head_dim());
  record->attention.local = &local;
  std::optional<TestOutputWeights> output;
  if (press->needs().output_weights) output.emplace(sequence.shape(), pool.head_dim());
  CompressJob job{.press = press.get(),
                  .budget = complete(params).how_much(),
                  .pool = &pool,
                  .sequence = &sequence,
                  .new_rows_only = new_rows_only,
                  .record = record.get(),
                  .local = &local};
  if (output) job.output_weights = output->layers;
  return compress(job, threads);
}

void free_windows(Sequence& sequence, int entries_multiple) {
  for (int layer : {0, 2})
    sequence.free_before(layer, sequence.next_position() - kWindow + 1, entries_multiple);
}

// The tokens of rows that a later query sees.
Tokens tokens_seen(const Sequence& sequence) {
  Tokens tokens = tokens_held(sequence);
  for (size_t pair = 0; pair < tokens.size(); ++pair)
    if (pair / 2 != 1) std::erase_if(tokens[pair], [](int32_t token) { return token < kFirstSeen; });
  return tokens;
}

TEST(CompressWindows, ItDoesNotMatterWhatWasFreed) {
  for (const PressRow* row : ratio_presses()) {
    SCOPED_TRACE(row->name);
    std::optional<Tokens> expected;
    for (int freed : {0, 1, 4}) {  // never; page by page; as the runner's models do
      PagePool pool{kv::test_pool(300)};
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, kTokens, 1));
      if (freed > 0) free_windows(sequence, freed);
      const CompressResult result = press_windows(with_ratio(std::string{row->name}, 0.6), pool, sequence);
      EXPECT_EQ(result.rows_before, 2 * kTokens + 4 * (kWindow - 1));
      EXPECT_EQ(result.rows_after, count_rows(tokens_seen(sequence)));
      if (!expected) expected = tokens_seen(sequence);
      EXPECT_EQ(tokens_seen(sequence), *expected) << "freed " << freed;
      EXPECT_EQ(sequence.token_count(), kTokens);
      if (row->name != "quantized" && !makes_rows(*row)) expect_story(sequence, 1);
      check_consistency(pool, {{&sequence}}, {});
    }
  }
}

// The ratio is of the rows that count; what is left are rows that a later query sees.
TEST(CompressWindows, RatiosAndBudgetsCountSeenRows) {
  for (const PressRow* row : ratio_presses()) {
    if (!has_even_counts(*row) || !row->removes || row->amount != Amount::own) continue;
    SCOPED_TRACE(row->name);
    for (const bool by_budget : {false, true}) {
      PagePool pool{kv::test_pool(300)};
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, kTokens, 1));
      const std::string name{row->name};
      if (by_budget && !takes_budget(*row)) continue;
      press_windows(by_budget ? with_budget(name, 70) : with_ratio(name, 0.5), pool, sequence);
      const Tokens tokens = tokens_held(sequence);
      for (int pair = 0; pair < 6; ++pair) {
        const bool is_local = pair / 2 != 1;
        EXPECT_EQ(tokens[pair].size(), by_budget ? 70u : is_local ? 49u : 150u) << pair;
        EXPECT_GE(tokens[pair].front(), is_local ? kFirstSeen : 0);
      }
    }
  }
}

TEST(CompressWindows, NothingToRemoveLeavesTheHeadAsItWas) {
  PagePool pool{kv::test_pool(300)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, kTokens, 1));
  const CompressResult result = press_windows(with_ratio("knorm", 0.0), pool, sequence);
  EXPECT_EQ(result.rows_after, result.rows_before);
  EXPECT_EQ(result.bytes_freed, 0);
  EXPECT_EQ(sequence.rows_held(0, 0), kTokens);
  EXPECT_TRUE(sequence.can_share_block(0));
}

// The rows that an earlier turn's compression left stay in a later turn, as long as they are seen.
TEST(CompressWindows, ALaterTurnKeepsWhatIsStillSeen) {
  std::optional<Tokens> expected;
  for (int freed : {0, 1, 4}) {
    PagePool pool{kv::test_pool(300)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, kTokens - 60, 1));
    press_windows(with_ratio("random", 0.5), pool, sequence);
    const Tokens first = tokens_held(sequence);
    ASSERT_TRUE(append_story(sequence, 60, 1));
    if (freed > 0) free_windows(sequence, freed);
    press_windows(with_ratio("random", 0.5), pool, sequence, true);
    const Tokens tokens = tokens_held(sequence);
    for (int pair = 0; pair < 6; ++pair) {
      std::vector<int32_t> stayed = first[pair];
      if (pair / 2 != 1) std::erase_if(stayed, [](int32_t token) { return token < kFirstSeen; });
      EXPECT_EQ(tokens[pair].size(), stayed.size() + 30) << pair;
      EXPECT_TRUE(std::equal(stayed.begin(), stayed.end(), tokens[pair].begin())) << pair;
    }
    if (!expected) expected = tokens;
    EXPECT_EQ(tokens, *expected);
    expect_story(sequence, 1);
    check_consistency(pool, {{&sequence}}, {});
  }
}

// What rows received of all queries is summed up while they come, with pages freed in between or not, in any
// chunks.
TEST(CompressWindows, ReceivedAttentionDoesNotDependOnChunksOrFreeing) {
  const attention::LocalLayers local = local_layers();
  std::optional<std::vector<double>> expected;
  for (const int chunk : {kTokens, 90, 16}) {
    ComputePool threads{2};
    PagePool pool{kv::test_pool(300)};
    Sequence sequence{pool, kShape};
    attention::AttentionShape shape{
        .n_heads = 4, .n_kv_heads = 2, .head_dim = kv::kTestHeadDim, .scale = 1e-3f, .local = &local};
    model::QueryRecord record = make_record({.received_attention = true}, shape, 3, {0, kTokens});
    std::vector<float> query(4 * kv::kTestHeadDim);
    for (int first = 0; first < kTokens; first += chunk) {
      const int end = std::min(kTokens, first + chunk);
      ASSERT_TRUE(append_story(sequence, end - first, 1));
      expect_step(record, 3, {first, end});
      for (int layer = 0; layer < 3; ++layer)
        for (int token = first; token < end; ++token) {
          for (size_t i = 0; i < query.size(); ++i)
            query[i] = random_score(1, layer, static_cast<int>(i), token) - 0.5f;
          record.chunk.set(layer, token, query.data());
        }
      observe_step(pool, sequence, false, threads, record);
      if (chunk != kTokens) free_windows(sequence, 4);
    }
    double sum = 0;  // each query shares out 1, two query heads per KV head
    for (const double x : record.received.of(0, 1)) sum += x;
    EXPECT_NEAR(sum, 2 * kTokens, 1e-2);
    if (!expected) expected = record.received.sums;
    for (size_t i = 0; i < expected->size(); ++i)
      ASSERT_NEAR(record.received.sums[i], (*expected)[i], 1e-6) << "chunk " << chunk << ", sum " << i;
  }
}

}  // namespace
}  // namespace fastcache::press
