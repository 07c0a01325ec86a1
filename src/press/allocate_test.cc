// SPDX-License-Identifier: Apache-2.0
#include "press/allocate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/test_seed.h"

namespace fastcache::press {
namespace {

TEST(Budget, GoldenCounts) {
  const Budget fifth{.ratio = 0.8};
  EXPECT_EQ(fifth.rows_kept(1000, 0), 199);  // 1 - 0.8 is a little less than 0.2, and the formula truncates
  EXPECT_EQ(fifth.rows_kept(1001, 0), 200);
  EXPECT_EQ(fifth.rows_kept(4, 0), 1);  // never none
  EXPECT_EQ(fifth.rows_kept(0, 0), 0);  // but where there is nothing
  EXPECT_EQ(fifth.rows_kept(1000, 500), 199);
  EXPECT_EQ(Budget{.ratio = 0.0}.rows_kept(1000, 0), 1000);
  EXPECT_EQ(Budget{.ratio = 0.5}.rows_kept(7, 0), 3);
  EXPECT_EQ(Budget{.rows = 200}.rows_kept(1000, 0), 200);
  EXPECT_EQ(Budget{.rows = 200}.rows_kept(150, 0), 150);
  EXPECT_EQ(Budget{.rows = 200}.rows_kept(100, 150), 50);  // 200 in all
  EXPECT_EQ(Budget{.rows = 200}.rows_kept(100, 250), 1);
  EXPECT_EQ(Budget{}.rows_kept(1000, 3), 1000);
}

// The plain rule: row by row, the best that is left; the first of equals; NaN after everything.
std::vector<int32_t> best_by_loops(const std::vector<float>& scores, int n_keep) {
  const auto better = [&](int a, int b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b])) return !std::isnan(scores[a]);
    return scores[a] > scores[b];
  };
  std::vector<bool> taken(scores.size());
  for (int i = 0; i < n_keep; ++i) {
    int best = -1;
    for (int row = 0; row < static_cast<int>(scores.size()); ++row)
      if (!taken[row] && (best < 0 || (better(row, best) && !(std::isnan(scores[row]))))) best = row;
    taken[best] = true;
  }
  std::vector<int32_t> rows;
  for (size_t row = 0; row < scores.size(); ++row)
    if (taken[row]) rows.push_back(static_cast<int32_t>(row));
  return rows;
}

TEST(BestRows, AgreeWithPlainLoopsAlsoOnTiesInfinitiesAndNaN) {
  std::mt19937_64 random{test_seed()};
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float special[] = {0.0f,  -0.0f,         1.0f,           -1.0f,  kInf,
                           -kInf, std::nanf(""), -std::nanf(""), 1e-40f, -1e-40f};
  for (int round = 0; round < 300; ++round) {
    std::vector<float> scores(random() % 60);
    for (float& s : scores)
      s = round % 2 == 0 ? special[random() % std::size(special)] : static_cast<float>(random() % 20) - 10.0f;
    const int n_keep = static_cast<int>(random() % (scores.size() + 1));
    ASSERT_EQ(best_rows_ascending(scores, n_keep), best_by_loops(scores, n_keep)) << "round " << round;
  }
}

TEST(BestRows, OfEqualScoresTheFirst) {
  EXPECT_EQ(best_rows_ascending(std::vector<float>(10, 2.5f), 3), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(best_rows_ascending(std::vector<float>{1, 3, 2, 3, 0, 3}, 2), (std::vector<int32_t>{1, 3}));
}

Scores scores_with(const std::vector<int>& n_rows) {
  Scores scores{.n_layers = static_cast<int>(n_rows.size()), .n_kv_heads = 1};
  for (const int n : n_rows) {
    scores.heads.emplace_back(n, 0.0f);
    scores.n_staying.push_back(0);
  }
  return scores;
}

int64_t sum(const RowCounts& counts) { return std::accumulate(counts.begin(), counts.end(), int64_t{0}); }

TEST(Shares, EqualSharesAreTheUniformCounts) {
  const Scores scores = scores_with({100, 100, 100, 100});
  const std::vector<double> shares(4, 0.3);
  EXPECT_EQ(counts_by_shares(scores, {.ratio = 0.7}, shares), uniform_counts(scores, {.ratio = 0.7}));
}

TEST(Shares, AreProportionalUntilAHeadIsFull) {
  const Scores scores = scores_with({100, 100, 100});
  EXPECT_EQ(counts_by_shares(scores, {.rows = 20}, std::vector<double>{1, 2, 3}), (RowCounts{10, 20, 30}));
  EXPECT_EQ(counts_by_shares(scores, {.rows = 50}, std::vector<double>{1, 1, 1000}),
            (RowCounts{25, 25, 100}));
  EXPECT_EQ(counts_by_shares(scores, {.rows = 40}, std::vector<double>{1e-9, 1e-9, 1}),
            (RowCounts{10, 10, 100}));
  EXPECT_EQ(counts_by_shares(scores, {.rows = 2}, std::vector<double>{1e-9, 1e-9, 1}), (RowCounts{1, 1, 4}));
}

TEST(Shares, TheTotalIsExactAndNoHeadIsOutOfBounds) {
  std::mt19937_64 random{test_seed()};
  for (int round = 0; round < 500; ++round) {
    std::vector<int> n_rows(1 + random() % 20);
    std::vector<double> shares;
    for (int& n : n_rows) n = random() % 8 == 0 ? 0 : static_cast<int>(random() % 200);
    for (size_t p = 0; p < n_rows.size(); ++p)  // over 12 powers of ten, with ties
      shares.push_back(std::pow(10.0, static_cast<double>(random() % 13) - 6.0));
    const Scores scores = scores_with(n_rows);
    const Budget budget = round % 2 == 0 ? Budget{.ratio = static_cast<double>(random() % 1000) / 1000.0}
                                         : Budget{.rows = 1 + static_cast<int>(random() % 250)};
    const RowCounts counts = counts_by_shares(scores, budget, shares);
    ASSERT_EQ(sum(counts), sum(uniform_counts(scores, budget))) << "round " << round;
    for (size_t p = 0; p < counts.size(); ++p) {
      ASSERT_GE(counts[p], std::min(1, n_rows[p]));
      ASSERT_LE(counts[p], n_rows[p]);
    }
    // Who has the larger share never has fewer rows, unless it is full; equal shares differ by one row.
    for (size_t a = 0; a < counts.size(); ++a)
      for (size_t b = 0; b < counts.size(); ++b) {
        if (shares[a] < shares[b] || counts[a] == n_rows[a]) continue;
        ASSERT_GE(counts[a] + (shares[a] == shares[b] ? 1 : 0), counts[b]) << "round " << round;
      }
  }
}

// Plain rule: each head its certain best, then the best of all that are left, head by head in order.
TEST(Compete, AgreesWithPlainLoops) {
  std::mt19937_64 random{test_seed()};
  for (int round = 0; round < 200; ++round) {
    std::vector<HeadScores> heads(1 + random() % 5);
    std::vector<int> counts;
    for (HeadScores& head : heads) {
      head.resize(random() % 30);
      for (float& score : head) score = static_cast<float>(random() % 1000000);
      counts.push_back(head.empty() ? 0 : 1 + static_cast<int>(random() % head.size()));
    }
    const double share = static_cast<double>(random() % 11) / 10;
    std::vector<std::vector<float>> sorted(heads.begin(), heads.end());
    std::vector<int> expected;
    int left = 0;
    for (size_t h = 0; h < heads.size(); ++h) {
      std::sort(sorted[h].begin(), sorted[h].end(), std::greater<>());
      expected.push_back(std::min(counts[h], std::max(1, static_cast<int>(counts[h] * share))));
      left += counts[h] - expected[h];
    }
    for (; left > 0; --left) {
      size_t best = heads.size();
      for (size_t h = 0; h < heads.size(); ++h) {
        if (expected[h] == static_cast<int>(sorted[h].size())) continue;
        if (best == heads.size() || sorted[h][expected[h]] > sorted[best][expected[best]]) best = h;
      }
      ++expected[best];
    }
    compete(heads, counts, share);
    EXPECT_EQ(counts, expected) << "round " << round << ", seed " << test_seed();
  }
}

}  // namespace
}  // namespace fastcache::press
