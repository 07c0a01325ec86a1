// SPDX-License-Identifier: Apache-2.0
// What compression does to a sequence and its pool, with every press.
#include "press/compress.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;

constexpr kv::CacheShape kShape{.n_layers = 3, .n_kv_heads = 2, .type = KvType::bf16};
constexpr int kHeads = 6;

// Rows that are there say what they said before, and the books agree.
void expect_sound(const PagePool& pool, std::initializer_list<const Sequence*> sequences,
                  bool has_new_rows = false) {
  for (const Sequence* sequence : sequences) {
    if (!has_new_rows) expect_story(*sequence, 1);
    expect_clean_tails(pool, *sequence);
  }
  check_consistency(pool, std::vector<const Sequence*>{sequences}, {});
}

TEST(Compress, KeepsRowsBitForBitAndLogicalNumbers) {
  for (const PressRow* row : ratio_presses())
    for (const int n : {1, 15, 16, 17, 200}) {
      PagePool pool{kv::test_pool(200)};
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, n, 1));
      const CompressResult result = run_press(with_ratio(std::string{row->name}, 0.7), pool, sequence);
      EXPECT_EQ(sequence.token_count(), n);
      EXPECT_EQ(sequence.next_position(), n);
      const Tokens tokens = tokens_held(sequence);
      for (int pair = 0; pair < kHeads; ++pair) {
        EXPECT_TRUE(std::is_sorted(tokens[pair].begin(), tokens[pair].end()));
        const kv::HeadRows rows = sequence.head_rows(pair / 2, pair % 2);
        for (int r = 0; r < rows.n_rows; ++r)
          EXPECT_EQ(rows.row_positions == nullptr ? rows.first_position + r : rows.row_positions[r],
                    tokens[pair][r]);
      }
      EXPECT_TRUE(result.uncommitted.empty());
      EXPECT_EQ(result.rows_before, kHeads * n);
      EXPECT_EQ(result.rows_after, count_rows(tokens));
      if (row->name == "quantized")  // its rows are its own test's matter
        check_consistency(pool, {{&sequence}}, {});
      else
        expect_sound(pool, {&sequence}, makes_rows(*row));
      sequence.release();
      EXPECT_EQ(pool.free_pages(), pool.n_pages());
    }
}

TEST(Compress, RatioZeroAndALargeBudgetChangeNothing) {
  for (const PressRow* row : ratio_presses())
    for (const PressParams& params : {with_ratio(std::string{row->name}, 0.0),
                                      takes_budget(*row) ? with_budget(std::string{row->name}, 100)
                                                         : with_ratio(std::string{row->name}, 0.0),
                                      takes_budget(*row) ? with_budget(std::string{row->name}, 100000)
                                                         : with_ratio(std::string{row->name}, 0.0)}) {
      PagePool pool{kv::test_pool(200)};
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, 100, 1));
      const CompressResult result = run_press(params, pool, sequence);
      EXPECT_EQ(result.rows_after, kHeads * 100);
      EXPECT_EQ(result.bytes_freed, 0);
      EXPECT_EQ(pool.usage().compressed, 0U);
      EXPECT_TRUE(sequence.can_share_block(0));  // the heads are still as prefill left them
      EXPECT_EQ(sequence.rows_compressed(2, 1), 0);
    }
}

TEST(Compress, AnEmptySequenceIsNoTrouble) {
  PagePool pool{kv::test_pool(8)};
  for (const PressRow* row : ratio_presses()) {
    Sequence sequence{pool, kShape};
    EXPECT_EQ(run_press(with_ratio(std::string{row->name}, 0.5), pool, sequence).rows_after, 0);
  }
}

TEST(Compress, FreesPageByPageInACompletelyFullPool) {
  for (const PressRow* row : ratio_presses())
    for (const double ratio : {0.3, 0.5, 0.8, 0.97}) {
      if (row->name == "quantized") continue;     // quantized_test.cc: other pages, other rows
      PagePool pool{kv::test_pool(kHeads * 10)};  // no reserve either
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, 160, 1));
      ASSERT_EQ(pool.free_pages(), 0U);
      const CompressResult result = run_press(with_ratio(std::string{row->name}, ratio), pool, sequence);
      EXPECT_TRUE(result.uncommitted.empty());
      const size_t freed = kHeads * 10 - pages_by_formula(sequence);
      EXPECT_EQ(pool.free_pages(), freed) << row->name << ' ' << ratio;
      EXPECT_EQ(result.bytes_freed, static_cast<int64_t>(freed * pool.page_bytes()));
      EXPECT_EQ(sequence.bytes().exclusive, pool.page_bytes() * pages_by_formula(sequence));
      if (row->removes) {
        EXPECT_GT(freed, 0U);
      }
      expect_sound(pool, {&sequence}, makes_rows(*row));
    }
}

TEST(Compress, UnevenBudgetsFreeWhatEachHeadGivesUp) {
  PagePool pool{kv::test_pool(kHeads * 13)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 200, 1));
  run_press(with_ratio("test_uneven", 0.5), pool, sequence);
  int whole = 0, single = 0;
  for (int pair = 0; pair < kHeads; ++pair) {
    const kv::HeadTable& table = sequence.table(pair / 2, pair % 2);
    EXPECT_EQ(table.entries.size(), static_cast<size_t>((table.n_rows + 15) / 16));
    whole += table.n_rows == 200 ? 1 : 0;
    single += table.entries.size() == 1 ? 1 : 0;
  }
  EXPECT_GE(whole, 2);
  EXPECT_GE(single, 2);
  EXPECT_EQ(pool.free_pages(), kHeads * 13 - pages_by_formula(sequence));
}

TEST(Compress, DecodingGoesOnAtLogicalPositions) {
  for (const PressRow* row : ratio_presses()) {
    PagePool pool{kv::test_pool(200)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 100, 1));
    run_press(with_ratio(std::string{row->name}, 0.8), pool, sequence);
    const Tokens before = tokens_held(sequence);
    sequence.set_state(kv::PageState::decode);
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(append_story(sequence, 1, 1));
    Tokens expected = before;
    for (auto& tokens : expected)
      for (int token = 100; token < 140; ++token) tokens.push_back(token);
    EXPECT_EQ(tokens_held(sequence), expected);
    EXPECT_EQ(sequence.next_position(), 140);
    const kv::HeadRows rows = sequence.head_rows(1, 1);
    if (rows.row_positions != nullptr) {
      EXPECT_EQ(rows.row_positions[rows.n_rows - 1], 139);
    }
    expect_sound(pool, {&sequence}, makes_rows(*row));
  }
}

TEST(Compress, TheNextTurnTouchesOnlyItsRows) {
  for (const PressRow* row : ratio_presses()) {
    if (!row->removes || !has_even_counts(*row) || !takes_budget(*row)) continue;  // simple numbers
    const std::string name{row->name};
    const struct {
      PressParams params;
      int kept_of_40;
    } cases[] = {{with_ratio(name, 0.5), 20}, {with_budget(name, 60), 10}, {with_budget(name, 30), 1}};
    for (const auto& [params, kept] : cases) {
      PagePool pool{kv::test_pool(200)};
      Sequence sequence{pool, kShape};
      ASSERT_TRUE(append_story(sequence, 100, 1));
      run_press(with_ratio(name, 0.5), pool, sequence);
      const Tokens first_turn = tokens_held(sequence);
      ASSERT_TRUE(append_story(sequence, 40, 1));
      run_press(params, pool, sequence, true);
      const Tokens both = tokens_held(sequence);
      for (int pair = 0; pair < kHeads; ++pair) {
        ASSERT_EQ(both[pair].size(), 50U + kept) << name;
        EXPECT_TRUE(std::equal(first_turn[pair].begin(), first_turn[pair].end(), both[pair].begin()));
        EXPECT_GE(both[pair][50], 100);
        EXPECT_EQ(sequence.rows_compressed(pair / 2, pair % 2), 50 + kept);
      }
      expect_sound(pool, {&sequence}, makes_rows(*row));
      const Tokens again = both;  // nothing is new now
      run_press(params, pool, sequence, true);
      EXPECT_EQ(tokens_held(sequence), again);
    }
  }
}

TEST(Compress, AgainOverAllRows) {
  PagePool pool{kv::test_pool(200)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 100, 1));
  run_press(with_ratio("random", 0.5), pool, sequence);
  ASSERT_TRUE(append_story(sequence, 40, 1));
  const Tokens before = tokens_held(sequence);
  run_press(with_ratio("random", 0.5), pool, sequence);
  const Tokens after = tokens_held(sequence);
  for (int pair = 0; pair < kHeads; ++pair) {
    EXPECT_EQ(after[pair].size(), 45U);
    EXPECT_LT(std::count_if(after[pair].begin(), after[pair].end(), [](int t) { return t < 100; }), 50);
    EXPECT_TRUE(
        std::includes(before[pair].begin(), before[pair].end(), after[pair].begin(), after[pair].end()));
  }
  expect_sound(pool, {&sequence});
}

TEST(Compress, AForkIsCompressedBesideItsOriginal) {
  for (const PressRow* row : ratio_presses()) {
    PagePool pool{kv::test_pool(200)};
    Sequence original{pool, kShape};
    ASSERT_TRUE(append_story(original, 100, 1));
    Sequence fork = original.fork();
    const auto free = static_cast<int64_t>(pool.free_pages());
    const CompressResult result = run_press(with_ratio(std::string{row->name}, 0.6), pool, fork);
    EXPECT_EQ(result.bytes_freed,
              (static_cast<int64_t>(pool.free_pages()) - free) * static_cast<int64_t>(pool.page_bytes()));
    if (row->removes) {
      EXPECT_LT(result.bytes_freed, 0);  // both are there now
    }
    EXPECT_EQ(original.rows_held(0, 0), 100);
    expect_story(original, 1);
    expect_sound(pool, {&original, &fork}, makes_rows(*row));
  }
}

}  // namespace
}  // namespace fastcache::press
