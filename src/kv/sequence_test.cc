// SPDX-License-Identifier: Apache-2.0
// Steps, truncation, positions, sharing and windows of a sequence. Compression has a file of its own.
#include "kv/sequence.h"

#include <gtest/gtest.h>

#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = KvType::bf16};

TEST(Sequence, AppendedRowsAreReadBackThroughTheTables) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  for (const int n : {1, 15, 1, 40, 3}) ASSERT_TRUE(append_story(sequence, n, 7));
  EXPECT_EQ(sequence.token_count(), 60);
  EXPECT_EQ(sequence.next_position(), 60);
  expect_story(sequence, 7);
  for (int layer = 0; layer < 2; ++layer) {
    const HeadRows rows = sequence.head_rows(layer, 1);
    EXPECT_EQ(rows.n_rows, 60);
    ASSERT_EQ(rows.entries.size(), 4U);
    EXPECT_EQ(rows.entries[3].first_row, 48U);
    EXPECT_EQ(rows.entries[3].rows_used, 12);
    EXPECT_EQ(rows.row_positions, nullptr);
    EXPECT_EQ(rows.first_position, 0);
  }
  EXPECT_EQ(sequence.bytes().exclusive, 16 * pool.page_bytes());
  EXPECT_EQ(pool.usage().prefill, 16 * pool.page_bytes());
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Sequence, AppendIsAllOrNothing) {
  PagePool pool{test_pool(11)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 32, 1));
  EXPECT_EQ(sequence.pages_to_append(1), 4U);
  EXPECT_FALSE(append_story(sequence, 1, 1));
  EXPECT_EQ(pool.free_pages(), 3U);
  EXPECT_EQ(sequence.token_count(), 32);
  expect_story(sequence, 1);
  sequence.truncate_to(20);
  EXPECT_EQ(sequence.pages_to_append(12), 0U);
  EXPECT_TRUE(append_story(sequence, 12, 1));
  expect_story(sequence, 1);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Sequence, TruncatedTokensLeaveNothingBehind) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 50, 1));
  sequence.truncate_to(33);
  EXPECT_EQ(sequence.next_position(), 33);
  expect_clean_tails(pool, sequence);
  ASSERT_TRUE(append_story(sequence, 1, 1));
  expect_story(sequence, 1);
  sequence.truncate_to(0);
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
}

TEST(Sequence, DecodePagesAreCountedApart) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 10, 1));
  sequence.set_state(PageState::decode);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(append_story(sequence, 1, 1));
  EXPECT_EQ(pool.usage().prefill, 4 * pool.page_bytes());
  EXPECT_EQ(pool.usage().decode, 4 * pool.page_bytes());
}

TEST(Sequence, ImagePositionsAreNotTokenIndices) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 4, 1));
  std::vector<Token>
      image;  // 2 x 3 patches, M-RoPE: one temporal position, rows and columns in the other sections
  for (int16_t i = 0; i < 6; ++i) {
    const int16_t row = i / 3, col = i % 3;
    image.push_back({.image = 0, .patch_row = row, .patch_col = col, .position = {4, 4 + row, 4 + col, 0}});
  }
  ASSERT_TRUE(sequence.append(image));
  write_new_rows(sequence, {65540, 65541, 65542, 65543, 65544, 65545});
  EXPECT_EQ(sequence.next_position(), 7);
  ASSERT_TRUE(append_story(sequence, 2, 1));
  expect_story(sequence, 1);
  EXPECT_EQ(sequence.token_count(), 12);
  EXPECT_EQ(sequence.next_position(), 9);
  EXPECT_EQ(sequence.tokens()[9].patch_col, 2);
  const HeadRows rows = sequence.head_rows(0, 0);
  ASSERT_NE(rows.row_positions, nullptr);
  const std::vector<int32_t> positions(rows.row_positions, rows.row_positions + rows.n_rows);
  EXPECT_EQ(positions, (std::vector<int32_t>{0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 7, 8}));
  sequence.truncate_to(6);  // in the middle of the picture
  EXPECT_EQ(sequence.next_position(), 6);
  ASSERT_TRUE(append_story(sequence, 1, 1));
  EXPECT_EQ(sequence.tokens().position(6), 6);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Sequence, ForksShareUntilOneOfThemWrites) {
  PagePool pool{test_pool(64)};
  Sequence parent{pool, kShape};
  ASSERT_TRUE(append_story(parent, 20, 1));
  Sequence child = parent.fork();
  EXPECT_EQ(pool.usage().shared, 8 * pool.page_bytes());
  EXPECT_EQ(child.bytes().exclusive, 0U);
  EXPECT_EQ(child.pages_to_append(1), 4U);
  child.truncate_to(18);
  ASSERT_TRUE(append_story(child, 3, 1));  // writes 18..20 into copies
  expect_clean_tails(pool, child);
  ASSERT_TRUE(append_story(parent, 30, 1));
  expect_story(parent, 1);
  expect_story(child, 1);
  EXPECT_EQ(child.bytes().shared, 4 * pool.page_bytes());
  const Sequence* both[] = {&parent, &child};
  check_consistency(pool, both, {});
  parent.release();
  EXPECT_EQ(child.bytes().shared, 0U);
  expect_story(child, 1);
}

TEST(Sequence, BlocksOutliveTheirSequenceAndStartOthers) {
  PagePool pool{test_pool(64)};
  Block cached[2] = {[&] {
                       Sequence first{pool, kShape};
                       EXPECT_TRUE(append_story(first, 40, 3));
                       EXPECT_FALSE(first.can_share_block(2));
                       EXPECT_EQ(first.share_block(1).bytes_if_released(), 0U);
                       return first.share_block(0);
                     }(),
                     [&] {
                       Sequence first{pool, kShape};
                       EXPECT_TRUE(append_story(first, 40, 3));
                       return first.share_block(1);
                     }()};
  EXPECT_EQ(pool.usage().prefix_cached, 8 * pool.page_bytes());
  EXPECT_EQ(cached[0].bytes_if_released(), 4 * pool.page_bytes());

  std::vector<Token> tokens;
  for (int t = 0; t < 32; ++t) tokens.push_back(text_token(1, t));
  const Block* blocks[] = {&cached[0], &cached[1]};
  Sequence second{pool, kShape};
  second.attach(blocks, tokens);
  expect_story(second, 3);
  EXPECT_EQ(pool.usage().shared, 8 * pool.page_bytes());
  ASSERT_TRUE(append_story(second, 5, 3));
  expect_story(second, 3);
  check_consistency(pool, {{&second}}, blocks);
  const Block again = cached[0].share();
  cached[0].release();
  cached[1] = Block{std::move(cached[0])};
  second.release();
  EXPECT_EQ(pool.usage().prefix_cached, 4 * pool.page_bytes());
}

TEST(Sequence, WindowsFreeWholePagesOfTheirLayers) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 70, 1));
  sequence.free_before(1, 40);
  EXPECT_EQ(sequence.rows_held(0, 0), 70);
  EXPECT_EQ(sequence.rows_held(1, 0), 38);
  const HeadRows rows = sequence.head_rows(1, 1);
  EXPECT_EQ(rows.first_position, 32);
  EXPECT_EQ(rows.entries_before, 2);
  EXPECT_EQ(rows.entries[0].first_row, 0U);
  EXPECT_EQ(pool.free_pages(), 64U - 20 + 4);
  EXPECT_FALSE(sequence.can_share_block(1));
  EXPECT_TRUE(sequence.can_share_block(2));
  ASSERT_TRUE(append_story(sequence, 20, 1));
  expect_story(sequence, 1);
  sequence.free_before(1, 1000);
  EXPECT_EQ(sequence.rows_held(1, 0), 0);
  ASSERT_TRUE(append_story(sequence, 1, 1));
  EXPECT_EQ(sequence.head_rows(1, 0).first_position, 90);
  sequence.truncate_to(80);
  EXPECT_EQ(sequence.rows_held(1, 0), 0);
  expect_story(sequence, 1);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Sequence, AForkForThePrefixCacheCountsAsCached) {
  PagePool pool{test_pool(64)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 20, 1));
  Sequence kept = sequence.fork(PageOwner::block);
  EXPECT_EQ(pool.usage().shared, 8 * pool.page_bytes());
  check_consistency(pool, {{&sequence, &kept}}, {});
  sequence.release();
  EXPECT_EQ(pool.usage().prefix_cached, 8 * pool.page_bytes());
  Sequence moved{std::move(kept)};
  Sequence next = moved.fork();
  EXPECT_EQ(next.owner(), PageOwner::sequence);
  EXPECT_EQ(pool.usage().prefix_cached, 0U);
  ASSERT_TRUE(append_story(next, 20, 1));
  expect_story(next, 1);
  check_consistency(pool, {{&moved, &next}}, {});
  moved.truncate_to(16);
  check_consistency(pool, {{&moved, &next}}, {});
  moved = Sequence{pool, kShape};
  EXPECT_EQ(moved.owner(), PageOwner::sequence);
  check_consistency(pool, {{&next}}, {});
}

}  // namespace
}  // namespace fastcache::kv
