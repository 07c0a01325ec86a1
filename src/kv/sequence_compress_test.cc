// SPDX-License-Identifier: Apache-2.0
// Compression frees pages really, per head, in a full pool, and a failure leaves the head as it was.
#include <gtest/gtest.h>

#include <numeric>

#include "kv/sequence.h"
#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = KvType::bf16};

std::vector<int32_t> every(int step, int n_rows) {
  std::vector<int32_t> rows;
  for (int r = 0; r < n_rows; r += step) rows.push_back(r);
  return rows;
}

bool keep_everywhere(Sequence& sequence, const std::vector<int32_t>& rows) {
  for (int layer = 0; layer < sequence.shape().n_layers; ++layer)
    for (int head = 0; head < sequence.shape().n_kv_heads; ++head)
      if (!sequence.keep_rows(layer, head, rows)) return false;
  return true;
}

TEST(Compression, AFullPoolCompactsInPlaceAndDecodesOn) {
  PagePool pool{test_pool(40)};  // 10 pages for each of the 4 heads: full, no reserve at all
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 160, 1));
  EXPECT_EQ(pool.free_pages(), 0U);
  ASSERT_TRUE(sequence.keep_rows(0, 1, every(5, 160)));
  EXPECT_EQ(pool.free_pages(), 8U);
  EXPECT_EQ(sequence.rows_held(0, 1), 32);
  EXPECT_EQ(sequence.rows_held(0, 0), 160);
  expect_story(sequence, 1);
  ASSERT_TRUE(sequence.keep_rows(1, 0, every(7, 160)));  // 23 rows
  expect_clean_tails(pool, sequence);
  EXPECT_EQ(pool.usage().compressed, 4 * pool.page_bytes());
  EXPECT_EQ(sequence.token_count(), 160);
  EXPECT_EQ(sequence.next_position(), 160);
  EXPECT_EQ(sequence.head_rows(1, 0).row_positions[22], 154);

  sequence.set_state(PageState::decode);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(append_story(sequence, 1, 1));
  EXPECT_EQ(sequence.rows_held(1, 0), 53);
  EXPECT_EQ(sequence.row_token(1, 0, 52), 189);
  expect_story(sequence, 1);
  sequence.truncate_to(150);
  EXPECT_EQ(sequence.rows_held(1, 0), 22);
  expect_story(sequence, 1);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Compression, SharedPagesAreCopiedAndThePrefixStaysExact) {
  PagePool pool{test_pool(64)};
  Sequence original{pool, kShape};
  ASSERT_TRUE(append_story(original, 64, 1));
  const Block block = original.share_block(0);
  Sequence fork = original.fork();
  ASSERT_TRUE(keep_everywhere(fork, every(3, 64)));  // 22 rows, 2 pages
  EXPECT_EQ(fork.bytes().exclusive, 8 * pool.page_bytes());
  expect_story(original, 1);
  expect_story(fork, 1);
  original.release();
  EXPECT_EQ(pool.usage().prefix_cached, 4 * pool.page_bytes());
  EXPECT_EQ(pool.usage().compressed, 8 * pool.page_bytes());
  const Block* blocks[] = {&block};
  check_consistency(pool, {{&fork}}, blocks);
}

TEST(Compression, KeptPagesThatAreWholeStayShared) {
  PagePool pool{test_pool(64)};
  Sequence original{pool, kShape};
  ASSERT_TRUE(append_story(original, 64, 1));
  Sequence fork = original.fork();
  std::vector<int32_t> sinks_and_tail(16);
  std::iota(sinks_and_tail.begin(), sinks_and_tail.end(), 0);
  for (int r = 60; r < 64; ++r) sinks_and_tail.push_back(r);
  ASSERT_TRUE(fork.keep_rows(1, 1, sinks_and_tail));
  EXPECT_EQ(fork.table(1, 1).entries[0].page, original.table(1, 1).entries[0].page);
  EXPECT_EQ(pool.free_pages(), 64U - 16 - 1);
  expect_story(fork, 1);
}

TEST(Compression, KeepingAllOrNothingOfAHead) {
  PagePool pool{test_pool(16)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 20, 1));
  ASSERT_TRUE(sequence.keep_rows(0, 0, every(1, 20)));
  EXPECT_EQ(sequence.head_rows(0, 0).row_positions, nullptr);
  ASSERT_TRUE(sequence.keep_rows(0, 0, {}));
  EXPECT_EQ(sequence.rows_held(0, 0), 0);
  ASSERT_TRUE(append_story(sequence, 3, 1));
  EXPECT_EQ(sequence.rows_held(0, 0), 3);
  EXPECT_EQ(sequence.row_token(0, 0, 0), 20);
  expect_story(sequence, 1);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Compression, RowsOfAnotherTypeReplaceAHeadAndNativeRowsFollow) {
  PagePool pool{test_pool(40, 4, {KvType::bf16, KvType::int8})};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 128, 1));
  EXPECT_EQ(sequence.pages_to_append(80), 20U);
  std::vector<int32_t> tokens;
  std::vector<float> k, v;
  for (int t = 0; t < 128; t += 2) {
    tokens.push_back(t);
    const TestRow row = test_row((1 << 16) + t, 3);
    k.insert(k.end(), row.begin(), row.begin() + kTestHeadDim);
    v.insert(v.end(), row.begin() + kTestHeadDim, row.end());
  }
  ASSERT_TRUE(
      sequence.replace_rows(1, 1, {.type = KvType::int8, .tokens = tokens, .k = k.data(), .v = v.data()}));
  EXPECT_EQ(sequence.table(1, 1).entries.size(), 2U);
  ASSERT_TRUE(append_story(sequence, 20, 1));  // bf16 pages behind the int8 ones
  EXPECT_EQ(sequence.table(1, 1).entries.size(), 4U);
  expect_story(sequence, 1);
  ASSERT_TRUE(sequence.keep_rows(1, 1, every(3, 84)));  // 22 int8 rows and 6 bf16 rows: the border stays
  ASSERT_EQ(sequence.table(1, 1).entries.size(), 2U);
  EXPECT_EQ(sequence.table(1, 1).entries[0].rows_used, 22);
  EXPECT_EQ(sequence.table(1, 1).entries[1].type, KvType::bf16);
  expect_story(sequence, 1);
  expect_clean_tails(pool, sequence);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Compression, TheReserveServesAFullPool) {
  PagePool pool{test_pool(18, 2)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 64, 1));
  EXPECT_EQ(pool.available_pages(), 0U);
  const std::vector<float> ones(32 * kTestHeadDim, 1.0f);
  const std::vector<int32_t> tokens = every(2, 64);
  EXPECT_TRUE(sequence.replace_rows(0, 0, {.tokens = tokens, .k = ones.data(), .v = ones.data()}));
  EXPECT_EQ(pool.free_pages(), 4U);
  Sequence fork = sequence.fork();  // now nothing would come back to the reserve
  std::vector<PageId> rest(2);
  ASSERT_TRUE(pool.try_allocate(rest, PageState::prefill));
  EXPECT_FALSE(fork.replace_rows(0, 1, {.tokens = tokens, .k = ones.data(), .v = ones.data()}));
  EXPECT_FALSE(fork.keep_rows(0, 1, tokens));
  EXPECT_EQ(fork.rows_held(0, 1), 64);
  for (const PageId page : rest) pool.release(page, PageOwner::sequence);
}

// The claim behind the whole of fastcache, in pages: 80 % removed lets 4.5 times as many sequences in.
TEST(Compression, AdmitsFourAndAHalfTimesAsManySequences) {
  constexpr int kTokens = 1000;
  const auto admitted = [](bool compress) {
    PagePool pool{test_pool(20 * 4 * 63)};
    std::vector<Sequence> sequences;
    while (true) {
      Sequence sequence{pool, kShape};
      if (!append_story(sequence, kTokens, 1)) break;
      if (compress && !keep_everywhere(sequence, every(5, kTokens))) ADD_FAILURE();
      sequences.push_back(std::move(sequence));
    }
    return sequences.size();
  };
  const size_t k = admitted(false);
  EXPECT_EQ(k, 20U);
  const size_t compressed = admitted(true);
  EXPECT_GE(static_cast<double>(compressed), 4.5 * static_cast<double>(k)) << compressed;
  RecordProperty("compressed_sequences", static_cast<int>(compressed));
}

}  // namespace
}  // namespace fastcache::kv
