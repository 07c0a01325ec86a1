// SPDX-License-Identifier: Apache-2.0
// What a press that reads the prompt a second time gets to see, beside plain loops.
#include "press/prefill_record.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/press_string.h"
#include "press/query_attention.h"
#include "press/query_test_data.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;

constexpr int kHeads = 2, kLayers = 2, kGroup = 3;

// A prompt and a pass of random rows and queries behind it.
struct PassCase {
  PassCase(int n, int n_pass, const RandomQueries& shape = {.group = kGroup}, int n_compressed = 0)
      : n_prompt(n) {
    if (n_compressed > 0) {
      const RandomTurn earlier(sequence, test_seed() + 2, n_compressed, 1, shape);
      std::vector<int32_t> every_third;
      for (int row = 0; row < n_compressed; row += 3) every_third.push_back(row);
      for (int pair = 0; pair < kLayers * kHeads; ++pair)
        EXPECT_TRUE(sequence.keep_rows(pair / kHeads, pair % kHeads, every_third));
      later_turn = true;
    }
    const RandomTurn prompt(sequence, test_seed(), n - n_compressed, 1, shape);
    pass = std::make_unique<RandomTurn>(sequence, test_seed() + 1, n_pass, n_pass, shape);
  }

  model::QueryRecord observed(int chunk) {
    ComputePool threads{2};
    model::QueryRecord record = make_probe_record(pass->record.attention, kLayers, n_prompt);
    const int end = sequence.token_count();
    for (int first = n_prompt; first < end; first += chunk) {
      expect_step(record, kLayers, {first, std::min(first + chunk, end)});
      for (int layer = 0; layer < kLayers; ++layer)
        for (int token = first; token < std::min(first + chunk, end); ++token)
          record.chunk.set(layer, token, pass->record.last.at(layer, token));
      observe_step(pool, sequence, later_turn, threads, record);
    }
    return record;
  }

  int n_prompt = 0;
  bool later_turn = false;
  PagePool pool{kv::test_pool(800, 0, {KvType::f32})};
  Sequence sequence{pool, {.n_layers = kLayers, .n_kv_heads = kHeads, .type = KvType::f32}};
  std::unique_ptr<RandomTurn> pass;
};

void expect_highest(PassCase& of) {
  const model::QueryRecord record = of.observed(1'000);
  for (int layer = 0; layer < kLayers; ++layer) {
    const LayerInput input{of.pool, of.sequence, layer, of.later_turn, &of.pass->record};
    for (int head = 0; head < kHeads; ++head) {
      std::vector<double> right(of.n_prompt);
      for (int token = of.n_prompt; token < of.sequence.token_count(); ++token)
        for (int q = head * kGroup; q < (head + 1) * kGroup; ++q) {
          const std::vector<double> weights = plain_attention(input, q, token);
          for (int row = input.n_staying(head); row < input.n_held(head); ++row)
            if (const int t = input.held_token(head, row); t < of.n_prompt)
              right[t] = std::max(right[t], weights[row]);
        }
      const std::span<const float> highest = record.probed.of(layer, head);
      ASSERT_EQ(highest.size(), right.size());
      for (size_t token = 0; token < right.size(); ++token)
        ASSERT_NEAR(highest[token], right[token], 1e-3 * right[token] + 1e-12) << "token " << token;
    }
  }
}

TEST(SecondPass, TheHighestAttentionIsThatOfPlainLoops) {
  for (const auto& [n, n_pass] : {std::pair{150, 40}, {64, 64}, {1, 1}, {300, 7}}) {
    PassCase plain(n, n_pass);
    expect_highest(plain);
  }
  PassCase windowed(120, 50, {.group = kGroup, .window = 40});
  expect_highest(windowed);
  PassCase capped(120, 50, {.group = kGroup, .softcap = 2.0f});
  expect_highest(capped);
  PassCase later(150, 40, {.group = kGroup}, 60);
  expect_highest(later);
}

TEST(SecondPass, ChunksChangeNoBit) {
  PassCase of(150, 70);
  const std::vector<float> whole = of.observed(70).probed.maxima;
  for (const int chunk : {1, 7, 64}) EXPECT_EQ(of.observed(chunk).probed.maxima, whole) << chunk;
}

TEST(SecondPass, RowsOfAllLayersAndHeadsCompete) {
  PassCase of(200, 60);
  model::QueryRecord record = of.observed(60);
  of.sequence.truncate_to(200);
  const int n_kept = 4 * 39;  // int(200 * (1 - 0.8)) is 39
  std::vector<float> all = record.probed.maxima;
  std::nth_element(all.begin(), all.begin() + (n_kept - 1), all.end(), std::greater<>());
  const float threshold = all[n_kept - 1];
  ComputePool threads{2};
  const auto press = make_press(parse_press("test_second_pass(ratio=0.8)"));
  const size_t free_before = of.pool.free_pages();
  compress({press.get(), {.ratio = 0.8}, &of.pool, &of.sequence, false, &record}, threads);
  EXPECT_GT(of.pool.free_pages(), free_before);
  const Tokens kept = tokens_held(of.sequence);
  int64_t n_above = 0;
  for (int pair = 0; pair < kLayers * kHeads; ++pair)
    for (const int32_t token : kept[pair])
      n_above += record.probed.of(pair / kHeads, pair % kHeads)[token] >= threshold ? 1 : 0;
  EXPECT_EQ(count_rows(kept), n_kept);
  EXPECT_EQ(n_above, n_kept);
  const auto is_even = [&](const auto& tokens) { return tokens.size() == kept[0].size(); };
  EXPECT_FALSE(std::all_of(kept.begin(), kept.end(), is_even));
}

TEST(SecondPass, TheProbesCoverThePromptsNewTokens) {
  const auto press = make_press(parse_press("test_second_pass(ratio=0.5, part=30)"));
  const std::vector<Probe> probes = press->probes(10, 80);
  ASSERT_EQ(probes.size(), 3U);
  int next = 10;
  for (const Probe& probe : probes) {
    EXPECT_EQ(probe.first_token, next);
    next = probe.end_token;
  }
  EXPECT_EQ(next, 80);
  const auto composed = make_press(parse_press("composed(knorm(ratio=0.5), test_second_pass(ratio=0.5))"));
  EXPECT_EQ(composed->probes(0, 50).size(), 1U);
  EXPECT_TRUE(composed->needs().second_pass);
  EXPECT_THROW(
      make_press(parse_press("composed(test_second_pass(ratio=0.5), test_second_pass(ratio=0.5, part=9))")),
      Error);
}

}  // namespace
}  // namespace fastcache::press
