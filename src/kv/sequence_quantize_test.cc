// SPDX-License-Identifier: Apache-2.0
// Heads with pages of several types: what is freed, what stays bit for bit, and what a failure leaves.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/test_seed.h"
#include "kv/allocation_faults.h"
#include "kv/sequence.h"
#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 1, .n_kv_heads = 2, .type = KvType::bf16};
constexpr KvType kQuantized[] = {KvType::q8, KvType::q4, KvType::q2};

std::vector<int32_t> all_rows(const Sequence& sequence, int head) {
  std::vector<int32_t> rows(sequence.rows_held(0, head));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::vector<TestRow> stored_rows(const Sequence& sequence, int head) {
  std::vector<TestRow> rows;
  for (int r = 0; r < sequence.rows_held(0, head); ++r) rows.push_back(stored_row(sequence.row(0, head, r)));
  return rows;
}

// Test rows lie in [-127, 127], and a group's step follows from its range.
double worst_error(KvType type) { return 254.0 / ((1 << element_bits(type)) - 1) * 0.51 * 1.08; }

double difference(const TestRow& a, const TestRow& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::fabs(double{a[i]} - b[i]));
  return worst;
}

int pages_of(const Sequence& sequence, int head, KvType type) {
  int n = 0;
  for (const TableEntry& entry : sequence.table(0, head).entries) n += entry.type == type ? 1 : 0;
  return n;
}

TEST(Quantize, FreesPagesAndLeavesTheResidualAsItWas) {
  for (const KvType type : kQuantized) {
    PagePool pool{test_pool(26)};  // 13 pages for each head: full, no reserve at all
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 200, 1));
    ASSERT_EQ(pool.free_pages(), 0U);
    const std::vector<TestRow> before = stored_rows(sequence, 0), other = stored_rows(sequence, 1);
    ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 160, type));

    const int per_page = rows_per_page(type, kTestHeadDim);
    const int n_quantized = (160 + per_page - 1) / per_page;
    EXPECT_EQ(pages_of(sequence, 0, type), n_quantized);
    EXPECT_EQ(pages_of(sequence, 0, KvType::bf16), 3);  // 40 rows
    EXPECT_EQ(pool.free_pages(), static_cast<size_t>(10 - n_quantized));
    EXPECT_EQ(pool.usage().compressed, (n_quantized + 3) * pool.page_bytes());
    const std::vector<TestRow> after = stored_rows(sequence, 0);
    ASSERT_EQ(after.size(), 200U);
    for (int r = 0; r < 200; ++r) {
      if (r < 160)
        EXPECT_LE(difference(after[r], before[r]), worst_error(type)) << kv_type_name(type) << ' ' << r;
      else
        EXPECT_EQ(after[r], before[r]) << r;
    }
    EXPECT_EQ(stored_rows(sequence, 1), other);
    EXPECT_EQ(sequence.token_count(), 200);
    EXPECT_EQ(sequence.row_token(0, 0, 199), 199);
    check_consistency(pool, {{&sequence}}, {});
  }
}

TEST(Quantize, SelectionAndFormatInOneCommit) {
  PagePool pool{test_pool(60)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 400, 2));
  std::vector<int32_t> rows;
  for (int r = 0; r < 400; r += 2) rows.push_back(r);
  ASSERT_TRUE(sequence.quantize_rows(0, 1, rows, 144, KvType::q4));
  EXPECT_EQ(pages_of(sequence, 1, KvType::q4), 3);    // of 48 rows
  EXPECT_EQ(pages_of(sequence, 1, KvType::bf16), 4);  // 56 rows
  for (int r = 0; r < 200; ++r) {
    EXPECT_EQ(sequence.row_token(0, 1, r), 2 * r);
    const TestRow expected = test_row((2U << 16) + 2 * r, 1);
    EXPECT_LE(difference(stored_row(sequence.row(0, 1, r)), expected), r < 144 ? worst_error(KvType::q4) : 0);
  }
  expect_clean_tails(pool, sequence);
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Quantize, TheNextTurnQuantisesWhatTheFirstLeft) {
  PagePool pool{test_pool(100)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 3));
  ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 64, KvType::q4));
  const std::vector<TestRow> first = stored_rows(sequence, 0);
  ASSERT_TRUE(append_story(sequence, 60, 3));
  ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 128, KvType::q4));
  const std::vector<TestRow> second = stored_rows(sequence, 0);
  for (int r = 0; r < 64; ++r) EXPECT_EQ(second[r], first[r]) << "rounded twice: row " << r;
  for (int r = 64; r < 160; ++r)
    EXPECT_LE(difference(second[r], test_row((3U << 16) + r, 0)), r < 128 ? worst_error(KvType::q4) : 0);
  EXPECT_EQ(pages_of(sequence, 0, KvType::q4), 4);  // 48 + 16, 48 + 16
  check_consistency(pool, {{&sequence}}, {});
}

TEST(Quantize, SharedPagesAreLeftToTheirOtherOwners) {
  PagePool pool{test_pool(60)};
  Sequence original{pool, kShape};
  ASSERT_TRUE(append_story(original, 160, 4));
  Sequence fork = original.fork();
  ASSERT_TRUE(fork.quantize_rows(0, 0, all_rows(fork, 0), 96, KvType::q4));
  expect_story(original, 4);
  Sequence of_quantized = fork.fork();
  const std::vector<TestRow> rows = stored_rows(fork, 0);
  fork.truncate_to(70);  // in the middle of a shared quantised page
  ASSERT_TRUE(append_story(fork, 40, 5));
  EXPECT_EQ(stored_rows(of_quantized, 0), rows);
  for (int r = 0; r < 70; ++r) EXPECT_EQ(stored_row(fork.row(0, 0, r)), rows[r]);
  for (int r = 70; r < 110; ++r) EXPECT_EQ(stored_row(fork.row(0, 0, r)), test_row((5U << 16) + r, 0));
  check_consistency(pool, {{&original, &fork, &of_quantized}}, {});
}

TEST(Quantize, WithoutAPageTheHeadStaysAsItWas) {
  AllocationFaults faults;
  PoolOptions options = test_pool(60);
  options.faults = &faults;
  PagePool pool{options};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 160, 6));
  const Sequence other = sequence.fork();  // now every page must be new
  faults.fail_after(0);
  EXPECT_FALSE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 96, KvType::q4));
  expect_story(sequence, 6);
  EXPECT_EQ(pages_of(sequence, 0, KvType::bf16), 10);
  EXPECT_EQ(sequence.rows_compressed(0, 0), 0);
  EXPECT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 96, KvType::q4));
  check_consistency(pool, {{&sequence, &other}}, {});
}

TEST(Quantize, AHeadThatWouldNotGetSmallerStays) {
  PagePool pool{test_pool(60, 0, {KvType::int8})};
  Sequence sequence{pool, {.n_layers = 1, .n_kv_heads = 2, .type = KvType::int8}};
  ASSERT_TRUE(append_story(sequence, 64, 7));
  ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 64, KvType::q8));
  EXPECT_EQ(pages_of(sequence, 0, KvType::int8), 2);
  ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 0, KvType::q4));
  expect_story(sequence, 7);
}

TEST(Quantize, RowsAreFreedBehindAWindow) {
  PagePool pool{test_pool(60)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 160, 8));
  ASSERT_TRUE(sequence.quantize_rows(0, 0, all_rows(sequence, 0), 96, KvType::q4));
  sequence.free_before(0, 60);
  EXPECT_EQ(sequence.rows_held(0, 0), 160 - 48);
  EXPECT_EQ(sequence.row_token(0, 0, 0), 48);
  EXPECT_EQ(pages_of(sequence, 0, KvType::q4), 1);
  check_consistency(pool, {{&sequence}}, {});
}

// A model beside the sequence: which tokens it holds, and what was stored for each. Rows change only when
// they are quantised, and then by half a step each time.
TEST(Quantize, AnyOrderOfChangesKeepsTheBooks) {
  std::mt19937_64 random{test_seed()};
  const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  PagePool pool{test_pool(150, 8)};
  for (int round = 0; round < 60; ++round) {
    Sequence sequence{pool, kShape};
    std::vector<Sequence> forks;
    for (int i = 0; i < 12; ++i) {
      std::vector<TestRow> before = stored_rows(sequence, 0);
      const int n = static_cast<int>(before.size());
      switch (pick(0, 4)) {
        case 0:
          if (!append_story(sequence, pick(1, 90), 1)) forks.clear();
          break;
        case 1:
          sequence.truncate_to(pick(0, sequence.token_count()));
          before.resize(sequence.rows_held(0, 0));
          break;
        case 2:
          if (forks.size() < 3) forks.push_back(sequence.fork());
          break;
        default: {
          std::vector<int32_t> rows;
          const int keep_of_8 = pick(0, 2) == 0 ? 8 : pick(1, 7);
          for (int r = 0; r < n; ++r)
            if (pick(1, 8) <= keep_of_8) rows.push_back(r);
          const KvType type = kQuantized[pick(0, 2)];
          const int n_quantized = pick(0, 1) * pick(0, static_cast<int>(rows.size()));
          if (!sequence.quantize_rows(0, 0, rows, n_quantized, type)) break;
          ASSERT_EQ(sequence.rows_held(0, 0), static_cast<int>(rows.size()));
          for (size_t r = 0; r < rows.size(); ++r) {
            const TestRow now = stored_row(sequence.row(0, 0, static_cast<int>(r)));
            if (is_quantized(sequence.row(0, 0, static_cast<int>(r)).type))
              ASSERT_LE(difference(now, before[rows[r]]),
                        2 * worst_error(KvType::q2));  // ranges grow a little
            else
              ASSERT_EQ(now, before[rows[r]]);
          }
          before.clear();
        }
      }
      for (size_t r = 0; r < before.size(); ++r) ASSERT_EQ(stored_row(sequence.row(0, 0, r)), before[r]);
      std::vector<const Sequence*> everybody{&sequence};
      for (const Sequence& fork : forks) everybody.push_back(&fork);
      check_consistency(pool, everybody, {});
      expect_clean_tails(pool, sequence);
    }
  }
}

}  // namespace
}  // namespace fastcache::kv
