// SPDX-License-Identifier: Apache-2.0
// Biases of rows: kept through everything that may happen to a head, and paid for in pages.
#include "kv/head_bias.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kv/head_reader.h"
#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 1, .n_kv_heads = 2, .type = KvType::bf16};
constexpr int kRowsPerBiasPage = 256;  // floats in a page where head_dim is 16

std::vector<float> biases(const Sequence& sequence, int head) {
  std::vector<float> bias(sequence.rows_held(0, head));
  read_head_biases(sequence.head_rows(0, head), 0, static_cast<int>(bias.size()), bias.data());
  return bias;
}

// n merged rows that stand for the first n tokens; row i has the bias first + i.
struct Merged {
  Merged(int n, float first) : tokens(n), k(n * kTestHeadDim, 1.0f), v(k), bias(n) {
    std::iota(tokens.begin(), tokens.end(), 0);
    std::iota(bias.begin(), bias.end(), first);
  }
  NewRows rows(KvType type = KvType::bf16) const {
    return {.type = type, .tokens = tokens, .k = k.data(), .v = v.data(), .bias = bias.data()};
  }
  MergedRows behind(int n_front) const {
    return {.first = n_front, .k = k.data(), .v = v.data(), .bias = bias.data()};
  }
  std::vector<int32_t> tokens;
  std::vector<float> k, v, bias;
};

std::vector<float> counted(float first, int n, int n_zeros = 0) {
  std::vector<float> values(n);
  std::iota(values.begin(), values.end(), first);
  values.insert(values.end(), n_zeros, 0.0f);
  return values;
}

void check(const PagePool& pool, std::initializer_list<const Sequence*> sequences) {
  check_consistency(pool, std::vector<const Sequence*>{sequences}, {});
}

TEST(HeadBias, TakesPagesOfThePoolAndGivesThemBack) {
  PagePool pool{test_pool(200)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 600, 1));
  const size_t free = pool.free_pages();
  for (const int n : {10, kRowsPerBiasPage, kRowsPerBiasPage + 1, 600}) {
    ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(n, 1).rows()));
    const size_t n_bias_pages = static_cast<size_t>((n + 15) / 16 * 16 + 255) / 256;
    EXPECT_EQ(sequence.table(0, 0).bias->pages.size(), n_bias_pages);
    EXPECT_EQ(pool.free_pages(), free + 38 - (n + 15) / 16 - n_bias_pages);
    EXPECT_EQ(sequence.bytes().exclusive, pool.page_bytes() * (pool.n_pages() - pool.free_pages()));
    EXPECT_EQ(pool.usage().compressed, pool.page_bytes() * ((n + 15) / 16 + n_bias_pages));
    EXPECT_EQ(biases(sequence, 0), counted(1, n));
    check(pool, {&sequence});
  }
  sequence.release();
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
}

TEST(HeadBias, RowsOfEachTypeHaveTheirs) {
  for (const KvType type : {KvType::f32, KvType::bf16, KvType::int8}) {
    PagePool pool{test_pool(100, 0, {KvType::f32, KvType::bf16, KvType::int8})};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 300, 1));
    ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(300, 1).rows(type)));
    EXPECT_EQ(biases(sequence, 0), counted(1, 300)) << kv_type_name(type);
    check(pool, {&sequence});
  }
}

TEST(HeadBias, NewTokensHaveNone) {
  PagePool pool{test_pool(100)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 1));
  ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(20, 1).rows()));
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(append_story(sequence, 1, 1));
  EXPECT_EQ(biases(sequence, 0), counted(1, 20, 20));
  check(pool, {&sequence});
}

TEST(HeadBias, ForksShareItAndEachMayChangeOrLoseIt) {
  PagePool pool{test_pool(100)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 1));
  ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(40, 1).rows()));
  const size_t free = pool.free_pages();
  Sequence fork = sequence.fork();
  Sequence kept = sequence.fork(PageOwner::block);
  EXPECT_EQ(pool.free_pages(), free);
  ASSERT_TRUE(fork.append_text(std::vector<int32_t>(3, 1)));
  check(pool, {&sequence, &fork, &kept});
  ASSERT_TRUE(fork.keep_rows(0, 0, std::vector<int32_t>{1, 5, 30, 41}));
  EXPECT_EQ(biases(fork, 0), (std::vector<float>{2, 6, 31, 0}));
  EXPECT_EQ(biases(sequence, 0), counted(1, 40));
  check(pool, {&sequence, &fork, &kept});
  sequence.release();
  fork.release();
  EXPECT_EQ(biases(kept, 0), counted(1, 40));
  check(pool, {&kept});
}

TEST(HeadBias, TruncationCutsItAndTheLastRowTakesItsPageAlong) {
  PagePool pool{test_pool(100)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 1));
  ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(40, 1).rows()));
  Sequence fork = sequence.fork();
  fork.truncate_to(21);
  EXPECT_EQ(biases(fork, 0), counted(1, 21));
  ASSERT_TRUE(append_story(fork, 2, 1));
  EXPECT_EQ(biases(fork, 0), counted(1, 21, 2));
  check(pool, {&sequence, &fork});
  ASSERT_TRUE(sequence.keep_rows(0, 0, std::vector<int32_t>{7, 8}));
  ASSERT_TRUE(append_story(sequence, 30, 1));
  sequence.truncate_to(5);
  EXPECT_EQ(sequence.table(0, 0).bias, nullptr);
  check(pool, {&sequence, &fork});
}

// What a kept row is worth does not change when others go; merged rows stand behind those that stay.
TEST(HeadBias, KeptRowsKeepTheirsAndMergedOnesStandBehindThem) {
  PagePool pool{test_pool(100)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 60, 1));
  ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(20, 100).rows()));
  ASSERT_TRUE(append_story(sequence, 30, 1));
  const TestRow front = stored_row(sequence.row(0, 0, 3));
  const Merged merged(3, 1);
  ASSERT_TRUE(sequence.keep_rows(0, 0, std::vector<int32_t>{3, 19, 25, 30, 49}, merged.behind(2)));
  EXPECT_EQ(biases(sequence, 0), (std::vector<float>{103, 119, 1, 2, 3}));
  EXPECT_EQ(stored_row(sequence.row(0, 0, 0)), front);
  for (const int row : {2, 3, 4}) EXPECT_EQ(stored_row(sequence.row(0, 0, row))[5], 1.0f);
  EXPECT_EQ(sequence.row_token(0, 0, 4), 89);
  check(pool, {&sequence});
}

// A head without a free page anywhere: the pages that its own rows leave carry the biases.
TEST(HeadBias, AFullPoolMergesInPlace) {
  PagePool pool{test_pool(20)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 160, 1));
  ASSERT_EQ(pool.free_pages(), 0U);
  const Merged merged(160, 1);
  std::vector<int32_t> rows(merged.tokens);
  EXPECT_FALSE(sequence.keep_rows(0, 0, rows, merged.behind(0))) << "all stay: no page for the biases";
  expect_story(sequence, 1);
  rows.resize(144);
  ASSERT_TRUE(sequence.keep_rows(0, 0, rows, merged.behind(0)));
  EXPECT_EQ(biases(sequence, 0), counted(1, 144));
  EXPECT_EQ(pool.free_pages(), 0U);
  rows.resize(30);
  ASSERT_TRUE(sequence.keep_rows(0, 0, rows));  // its old page of biases serves again
  EXPECT_EQ(biases(sequence, 0), counted(1, 30));
  EXPECT_EQ(pool.free_pages(), 7U);
  check(pool, {&sequence});
}

TEST(HeadBias, AFailureLeavesTheHeadAsItWas) {
  AllocationFaults faults;
  PoolOptions options = test_pool(100);
  options.faults = &faults;
  PagePool pool{options};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 1));
  ASSERT_TRUE(sequence.replace_rows(0, 0, Merged(40, 1).rows()));
  const Sequence fork = sequence.fork();
  const size_t free = pool.free_pages();
  faults.fail_after(0);
  EXPECT_FALSE(sequence.replace_rows(0, 0, Merged(50, 7).rows()));
  faults.fail_after(0);
  EXPECT_FALSE(sequence.keep_rows(0, 0, std::vector<int32_t>{3, 4}));
  EXPECT_EQ(biases(sequence, 0), counted(1, 40));
  EXPECT_EQ(pool.free_pages(), free);
  check(pool, {&sequence, &fork});
}

}  // namespace
}  // namespace fastcache::kv
