// SPDX-License-Identifier: Apache-2.0
// Sliding windows and the pages behind them: that they left a table changes no bit of what a query gets.
#include <gtest/gtest.h>

#include <bit>

#include "attention/attention_testing.h"
#include "base/log.h"

namespace fastcache::attention {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kRounds = 5;  // ten times slower
#else
constexpr int kRounds = 25;
#endif

CaseShape random_shape(std::mt19937_64& random) {
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  const auto maybe = [&](int one_in) { return pick(1, one_in) == 1; };
  CaseShape shape{.name = "window",
                  .head_dim = 16 * pick(1, 8),
                  .n_kv_heads = pick(1, 2),
                  .group = pick(1, 5),
                  .type = static_cast<kv::KvType>(pick(0, kv::kKvTypes - 1)),
                  .old_rows = {pick(1, 1500), pick(1, 300)},
                  .new_rows = {maybe(2) ? 1 : pick(1, 50), pick(1, 20)},
                  .window = pick(1, 300)};
  shape.spans = maybe(3);
  shape.partial_pages = maybe(2);
  shape.uneven_heads = maybe(2);
  shape.sparse_positions = maybe(2);
  shape.deltas = maybe(4);
  shape.extras = maybe(4);
  shape.mixed_types = maybe(4);
  return shape;
}

// Some of the entries that none of the sequence's queries sees: they leave the table, and their pages turn to
// NaN. Returns how many.
int free_front(AttentionCase& of, size_t s, size_t h, int multiple, std::mt19937_64& random) {
  AttentionCase::Sequence& sequence = of.sequences[s];
  std::vector<kv::TableEntry>& entries = sequence.entries[h];
  const std::vector<int32_t>& positions = sequence.positions[h];
  const int first_seen = sequence.query_positions.front() - of.shape.window + 1;
  const auto unseen = [&](const kv::TableEntry& entry) {
    return positions[entry.first_row + entry.rows_used - 1] < first_seen;
  };
  int n = static_cast<int>(std::find_if_not(entries.begin(), entries.end(), unseen) - entries.begin());
  n = static_cast<int>(random() % static_cast<uint64_t>(n / multiple + 1)) * multiple;
  const int n_rows = static_cast<int>(entries[static_cast<size_t>(n)].first_row);
  for (int i = 0; i < n; ++i) {
    const kv::PageRef page = of.pages.page(entries[static_cast<size_t>(i)].page);
    std::fill_n(reinterpret_cast<float*>(page.payload), of.pages.payload_bytes / sizeof(float),
                std::nanf(""));
  }
  entries.erase(entries.begin(), entries.begin() + n);
  for (kv::TableEntry& entry : entries) entry.first_row -= static_cast<uint32_t>(n_rows);
  kv::HeadRows& head = sequence.heads[h];
  head.entries = entries;
  head.n_rows -= n_rows;
  head.entries_before += n;
  head.first_position += n_rows;
  if (head.row_positions != nullptr) head.row_positions += n_rows;
  return n;
}

// Groups of entries at a time, as their types say.
TEST(AttentionWindows, FreedPagesDoNotMatter) {
  std::mt19937_64 random(test_seed());
  int n_freed = 0;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t seed = random();
    const CaseShape shape = random_shape(random);
    const bool plain = !shape.mixed_types && !kv::is_quantized(shape.type);
    const int multiple = plain ? entries_per_group(shape.type) : kMaxGroupEntries;
    for (const AttentionKernel* kernel : attention_kernels()) {
      AttentionCase made(shape, seed), freed(shape, seed);
      run_attention(*kernel, made.batch(), 1);
      for (size_t s = 0; s < freed.sequences.size(); ++s)
        for (size_t h = 0; h < freed.sequences[s].heads.size(); ++h)
          n_freed += free_front(freed, s, h, multiple, random);
      for (int n_threads : {1, 3}) {
        std::fill(freed.out.begin(), freed.out.end(), std::nanf(""));
        run_attention(*kernel, freed.batch(), n_threads);
        for (size_t i = 0; i < made.out.size(); ++i) {
          if (i % made.stride >= made.stride - 16) continue;
          ASSERT_EQ(std::bit_cast<uint32_t>(freed.out[i]), std::bit_cast<uint32_t>(made.out[i]))
              << kernel->name << ", " << kv::kv_type_name(shape.type) << ", " << made.where << ", window "
              << shape.window << ", " << n_threads << " threads";
        }
      }
    }
  }
  EXPECT_GT(n_freed, 0);
}

// The layers of one model: those that are local have a window and angles of their own.
TEST(AttentionWindows, ShapesOfLayers) {
  const RopeTable global, of_local;
  const LocalLayers local{.is_local = {true, false}, .window = 7, .rope = &of_local};
  const AttentionShape model{.n_heads = 4, .scale = 0.5f, .rope = &global, .local = &local};
  EXPECT_EQ(layer_shape(model, 0).window, 7);
  EXPECT_EQ(layer_shape(model, 0).rope, &of_local);
  EXPECT_EQ(layer_shape(model, 0).scale, 0.5f);
  EXPECT_EQ(layer_shape(model, 1).window, 0);
  EXPECT_EQ(layer_shape(model, 1).rope, &global);
  const AttentionShape plain{.window = 9, .rope = &global};
  EXPECT_EQ(layer_shape(plain, 5).window, 9);
}

}  // namespace
}  // namespace fastcache::attention
