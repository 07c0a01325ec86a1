// SPDX-License-Identifier: Apache-2.0
// Steps, truncation, positions, windows and accounting of a sequence. Compression and sharing: files of their
// own.
#include "kv/sequence.h"

#include <gtest/gtest.h>

#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = KvType::bf16};

PoolOptions small_pool(int n_pages) {
  return {.head_dim = 16, .bytes = page_payload_bytes(16) * static_cast<size_t>(n_pages)};
}

TEST(Sequence, AppendedRowsAreReadBackThroughTheTables) {
  PagePool pool{small_pool(64)};
  Sequence sequence{pool, kShape};
  for (const int n : {1, 15, 1, 40, 3}) ASSERT_TRUE(append_and_write(sequence, n, 7));
  EXPECT_EQ(sequence.token_count(), 60);
  EXPECT_EQ(sequence.next_position(), 60);
  expect_rows(sequence, 7);
  for (int layer = 0; layer < 2; ++layer) {
    const HeadRows rows = sequence.head_rows(layer, 1);
    EXPECT_EQ(rows.n_rows, 60);
    ASSERT_EQ(rows.entries.size(), 4U);
    EXPECT_EQ(rows.entries[3].first_row, 48U);
    EXPECT_EQ(rows.entries[3].rows_used, 12);
    EXPECT_EQ(rows.row_positions, nullptr);
    EXPECT_EQ(rows.first_position, 0);
  }
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Sequence, AppendIsAllOrNothing) {
  PagePool pool{small_pool(11)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_and_write(sequence, 32, 1));
  EXPECT_EQ(pool.free_pages(), 3U);
  EXPECT_EQ(sequence.pages_to_append(1), 4U);
  EXPECT_FALSE(append_and_write(sequence, 1, 1));
  EXPECT_EQ(pool.free_pages(), 3U);
  EXPECT_EQ(sequence.token_count(), 32);
  expect_rows(sequence, 1);
  sequence.truncate_to(20);
  EXPECT_EQ(sequence.pages_to_append(12), 0U);
  EXPECT_TRUE(append_and_write(sequence, 12, 1));
  expect_rows(sequence, 1);
  check_consistency(pool, {{&sequence}}, {});
}

}  // namespace
}  // namespace fastcache::kv
