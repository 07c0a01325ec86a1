// SPDX-License-Identifier: Apache-2.0
#include "model/windows.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kv/accounting.h"
#include "kv/page_pool.h"

namespace fastcache::model {
namespace {

constexpr int kWindow = 100;

HParams hparams() {
  HParams h;
  h.n_layers = 3;
  h.n_kv_heads = 2;
  h.head_dim = 16;
  h.local_layers = {true, false, true};
  h.sliding_window = kWindow;
  return h;
}

struct Fixture {
  explicit Fixture(kv::KvType type = kv::KvType::bf16)
      : pool({.head_dim = 16, .bytes = size_t{8} << 20, .types = {type}}),
        sequence(pool, {.n_layers = 3, .n_kv_heads = 2, .type = type}) {}

  void append(int n) {
    std::vector<int32_t> ids(static_cast<size_t>(n), 7);
    ASSERT_TRUE(sequence.append_text(ids));
  }

  HParams h = hparams();
  kv::PagePool pool;
  kv::Sequence sequence;
};

// The next query stands at 500 and sees from 401 on; 384 is the last multiple of 64 rows before.
TEST(Windows, PagesOutsideAreFreedInLocalLayersOnly) {
  for (const kv::KvType type : {kv::KvType::f32, kv::KvType::bf16, kv::KvType::int8}) {
    Fixture f(type);
    f.append(500);
    const size_t free = f.pool.free_pages();
    const size_t expected = 2 * 2 * 384 / static_cast<size_t>(f.sequence.shape().rows());
    EXPECT_EQ(unseen_pages(f.h, f.sequence), expected);
    free_unseen_pages(f.h, f.sequence);
    EXPECT_EQ(f.pool.free_pages() - free, expected);
    EXPECT_EQ(unseen_pages(f.h, f.sequence), 0u);
    for (int layer = 0; layer < 3; ++layer) {
      EXPECT_EQ(f.sequence.rows_held(layer, 1), layer == 1 ? 500 : 116);
      EXPECT_EQ(f.sequence.row_token(layer, 1, 0), layer == 1 ? 0 : 384);
    }
    EXPECT_EQ(f.sequence.token_count(), 500);
    f.sequence.check();
  }
}

TEST(Windows, NothingIsFreedWithinTheWindow) {
  Fixture f;
  f.append(kWindow + 63);  // the next query sees from 64 on
  EXPECT_EQ(unseen_pages(f.h, f.sequence), 2u * 2 * 4);
  f.sequence.truncate_to(kWindow + 62);
  EXPECT_EQ(unseen_pages(f.h, f.sequence), 0u);
}

TEST(Windows, ModelsWithoutLocalLayersKeepAll) {
  Fixture f;
  f.h.local_layers.clear();
  f.append(500);
  free_unseen_pages(f.h, f.sequence);
  EXPECT_EQ(f.sequence.rows_held(0, 0), 500);
  EXPECT_TRUE(can_truncate(f.h, f.sequence, 1));
}

// Positions, not row numbers, say what is outside.
TEST(Windows, CompressedRowsAreFreedByTheirPositions) {
  Fixture f;
  f.append(400);
  std::vector<int32_t> rows;  // 200 rows at even positions
  for (int row = 0; row < 400; row += 2) rows.push_back(row);
  ASSERT_TRUE(f.sequence.keep_rows(0, 0, rows));
  f.append(100);
  free_unseen_pages(f.h, f.sequence);  // sees from 401 on: all 192 of the 200 kept rows in whole groups go
  EXPECT_EQ(f.sequence.rows_held(0, 0), 300 - 192);
  EXPECT_EQ(f.sequence.row_token(0, 0, 0), 384);
  EXPECT_EQ(f.sequence.row_token(0, 0, 8), 400);
  EXPECT_EQ(f.sequence.rows_held(0, 1), 500 - 384);
}

TEST(Windows, CanTruncateOnlyAsFarAsTheWindowsRowsReach) {
  Fixture f;
  f.append(500);
  for (int n : {0, 1, 250, 499}) EXPECT_TRUE(can_truncate(f.h, f.sequence, n)) << n;
  free_unseen_pages(f.h, f.sequence);  // from 384 on is left
  EXPECT_TRUE(can_truncate(f.h, f.sequence, 500));
  EXPECT_TRUE(can_truncate(f.h, f.sequence, 483));  // sees from 384 on
  EXPECT_FALSE(can_truncate(f.h, f.sequence, 482));
  EXPECT_FALSE(can_truncate(f.h, f.sequence, 50));
  EXPECT_TRUE(can_truncate(f.h, f.sequence, 0));
}

TEST(Windows, ForksKeepTheirRows) {
  Fixture f;
  f.append(500);
  const kv::Sequence fork = f.sequence.fork();
  const size_t free = f.pool.free_pages();
  free_unseen_pages(f.h, f.sequence);
  EXPECT_EQ(f.pool.free_pages(), free);
  EXPECT_EQ(fork.rows_held(0, 0), 500);
}

}  // namespace
}  // namespace fastcache::model
