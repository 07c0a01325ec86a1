// SPDX-License-Identifier: Apache-2.0
// Presses that score by keys and values, against their authors' formulas in plain loops and double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/test_seed.h"
#include "press/allocate.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

using Doubles = std::vector<double>;

std::unique_ptr<Press> press_of(std::string_view text) { return make_press(parse_press(text)); }

// Every pair's scores against the formula, which gets the pair; then the rows that stay.
void expect_scores(const RandomCache& cache, const Press& press, const std::function<Doubles(int)>& formula) {
  for (int pair = 0; pair < kPairs; ++pair) {
    const HeadScores scores = cache.scores(press, pair);
    const Doubles expected = formula(pair);
    ASSERT_EQ(scores.size(), expected.size());
    for (size_t row = 0; row < scores.size(); ++row)
      ASSERT_NEAR(scores[row], expected[row], 1e-3 * std::abs(expected[row]) + 1e-9)
          << "pair " << pair << " row " << row;
  }
}

Doubles keydiff_by_loops(const RandomCache& cache, int pair) {
  const int n = static_cast<int>(cache.rows[pair].size());
  Doubles mean(kCacheDim), lengths(n), scores(n);
  for (int row = 0; row < n; ++row) {
    for (int d = 0; d < kCacheDim; ++d) lengths[row] += cache.k(pair, row, d) * cache.k(pair, row, d);
    lengths[row] = std::sqrt(lengths[row]);
    for (int d = 0; d < kCacheDim; ++d) mean[d] += cache.k(pair, row, d) / lengths[row] / n;
  }
  double mean_length = 0;
  for (const double x : mean) mean_length += x * x;
  mean_length = std::sqrt(mean_length);
  for (int row = 0; row < n; ++row)
    for (int d = 0; d < kCacheDim; ++d)
      scores[row] -= cache.k(pair, row, d) * mean[d] / lengths[row] / mean_length;
  return scores;
}

TEST(KeyDiff, ScoresAreMinusTheCosineToTheMeanDirection) {
  for (const int n : {1, 2, 63, 64, 65, 300}) {
    const RandomCache cache(n, test_seed() + n);
    expect_scores(cache, *press_of("keydiff(ratio=0.5)"),
                  [&](int pair) { return keydiff_by_loops(cache, pair); });
  }
}

TEST(KeyDiff, ZeroKeysDoNotDivideByZero) {
  RandomCache cache(40, test_seed());
  for (int row = 0; row < 40; ++row) cache.set(0, row, 0.0f);
  for (const float score : cache.scores(*press_of("keydiff(ratio=0.5)"), 0)) EXPECT_EQ(score, 0.0f);
}

Doubles cur_by_loops(const RandomCache& cache, int pair, int n_sink, int window) {
  const int n = static_cast<int>(cache.rows[pair].size());
  Doubles k2(n), v2(n), scores(n);
  for (int row = 0; row < n; ++row)
    for (int d = 0; d < kCacheDim; ++d) {
      k2[row] += cache.k(pair, row, d) * cache.k(pair, row, d);
      v2[row] += cache.v(pair, row, d) * cache.v(pair, row, d);
    }
  double total = 0;
  for (int row = 0; row < n; ++row) {
    double k_sum = 0, v_sum = 0;
    for (int i = row / window * window; i < std::min(n, (row / window + 1) * window); ++i) {
      k_sum += k2[i];
      v_sum += v2[i];
    }
    scores[row] = k2[row] / k_sum * (v2[row] / v_sum);
    total += scores[row];
  }
  for (int row = 0; row < n; ++row) scores[row] = row < n_sink ? 1.0 : scores[row] / total;
  return scores;
}

TEST(Cur, ScoresAreSharesOfSquaredLengths) {
  for (const int n : {1, 3, 15, 16, 17, 64, 65, 250}) {
    const RandomCache cache(n, test_seed() + n);
    expect_scores(cache, *press_of("cur(ratio=0.5)"),
                  [&](int pair) { return cur_by_loops(cache, pair, 4, 16); });
    expect_scores(cache, *press_of("cur(ratio=0.5, n_sink=0, window=100)"),
                  [&](int pair) { return cur_by_loops(cache, pair, 0, 100); });
  }
}

// Of partition rows [begin, begin + lag), by the one behind it. channel(row, d) is of K or of V.
Doubles lag_softmax(int begin, int lag, const std::function<double(int, int)>& channel) {
  Doubles spread(lag);
  double sum = 0;
  for (int i = 0; i < lag; ++i) {
    Doubles z(kCacheDim);
    double mean = 0;
    for (int d = 0; d < kCacheDim; ++d) {
      double low = channel(begin + lag, d), high = low;
      for (int j = begin + lag; j < begin + 2 * lag; ++j) {
        low = std::min(low, channel(j, d));
        high = std::max(high, channel(j, d));
      }
      z[d] = (channel(begin + i, d) - low) / (high - low);
      mean += z[d] / kCacheDim;
    }
    for (const double x : z) spread[i] += (x - mean) * (x - mean) / (kCacheDim - 1);
    spread[i] = std::exp(std::sqrt(spread[i]));
    sum += spread[i];
  }
  for (double& x : spread) x /= sum;
  return spread;
}

Doubles lagkv_by_loops(const RandomCache& cache, int pair, int n_sink, int lag, bool across) {
  const int n = static_cast<int>(cache.rows[pair].size());
  Doubles scores(n, 1.0);
  if (n < n_sink + 2 * lag) {
    for (int row = n_sink; row < n; ++row) scores[row] = static_cast<double>(row - n_sink) / (n - n_sink);
    return scores;
  }
  for (int begin = n_sink; begin + 2 * lag <= n; begin += lag) {
    const Doubles k = lag_softmax(begin, lag, [&](int row, int d) { return cache.k(pair, row, d); });
    const Doubles v = lag_softmax(begin, lag, [&](int row, int d) { return cache.v(pair, row, d); });
    for (int i = 0; i < lag; ++i) {
      int n_below = 0;
      for (int j = 0; j < lag; ++j) n_below += k[j] + v[j] < k[i] + v[i] ? 1 : 0;
      scores[begin + i] = across ? (k[i] + v[i]) / 2 : static_cast<double>(n_below) / lag;
    }
  }
  return scores;
}

TEST(LagKv, ScoresComeFromThePartitionBehind) {
  for (const int n : {1, 4, 5, 43, 44, 45, 63, 64, 65, 150}) {
    const RandomCache cache(n, test_seed() + n);
    expect_scores(cache, *press_of("lagkv(ratio=0.5, lag=20, cross_scoring=1)"),
                  [&](int pair) { return lagkv_by_loops(cache, pair, 4, 20, true); });
    expect_scores(cache, *press_of("lagkv(ratio=0.5, lag=20, n_sink=0, cross_scoring=1)"),
                  [&](int pair) { return lagkv_by_loops(cache, pair, 0, 20, true); });
  }
}

// Rounding may turn two near scores round: then each is one place from where the formula has it.
TEST(LagKv, PlacesWithinAPartition) {
  for (const int n : {259, 260, 387, 388, 520}) {
    const RandomCache cache(n, test_seed() + n);
    const auto press = press_of("lagkv(ratio=0.5)");
    for (int pair = 0; pair < kPairs; ++pair) {
      const HeadScores scores = cache.scores(*press, pair);
      const Doubles expected = lagkv_by_loops(cache, pair, 4, 128, false);
      int n_turned = 0;
      for (int row = 0; row < n; ++row) {
        ASSERT_NEAR(scores[row], expected[row], 1.01 / 128) << "pair " << pair << " row " << row;
        n_turned += std::abs(scores[row] - expected[row]) > 1e-3 ? 1 : 0;
      }
      EXPECT_LE(n_turned, 4);
    }
  }
}

TEST(LagKv, FirstTokensAndTheEndStay) {
  const RandomCache cache(600, test_seed());  // 4 + 4 * 128 + 84: the last 212 have nothing behind them
  const auto press = press_of("lagkv(ratio=0.5)");
  const HeadScores scores = cache.scores(*press, 3);
  for (const auto& [n_keep, n_sink] : {std::pair{300, 4}, {216, 4}, {100, 4}, {5, 4}, {3, 3}}) {
    const std::vector<int32_t> rows = best_rows_ascending(scores, n_keep);
    EXPECT_TRUE(std::equal(rows.begin(), rows.begin() + n_sink, first_tokens(4).begin()));
    for (int i = 0; i < std::min(212, n_keep - n_sink); ++i) EXPECT_EQ(rows[n_keep - 1 - i], 599 - i);
  }
}

TEST(LagKv, AShortPromptKeepsItsFirstAndItsMostRecentRows) {
  const RandomCache cache(100, test_seed());
  const HeadScores scores = cache.scores(*press_of("lagkv(ratio=0.5)"), 0);
  EXPECT_EQ(best_rows_ascending(scores, 7), (std::vector<int32_t>{0, 1, 2, 3, 97, 98, 99}));
}

// What is not finite goes first, and takes at most its own neighbourhood along.
TEST(KeyValuePresses, RowsThatAreNotFiniteGoFirst) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const char* text : {"keydiff(ratio=0.5)", "cur(ratio=0.5)", "lagkv(ratio=0.5, lag=20)"}) {
    const auto press = press_of(text);
    for (const float bad : {kInf, -kInf, std::nanf("")}) {
      RandomCache cache(200, test_seed());
      const HeadScores clean = cache.scores(*press, 1);
      for (const int row : {30, 33, 50}) cache.set(1, row, bad);
      const HeadScores scores = cache.scores(*press, 1);
      for (const int row : {30, 33, 50})
        EXPECT_TRUE(std::isnan(scores[row]) || scores[row] <= 1.01f / 20) << text << ' ' << scores[row];
      EXPECT_LE(std::count_if(scores.begin(), scores.end(), [](float s) { return std::isnan(s); }), 3)
          << text;
      EXPECT_EQ(cache.scores(*press, 0), RandomCache(200, test_seed()).scores(*press, 0)) << "another head";
      for (const int32_t row : best_rows_ascending(scores, 100))
        EXPECT_TRUE(row != 30 && row != 33 && row != 50);
    }
  }
}

TEST(KeyValuePresses, SeeOnlyTheCandidatesOfANarrowedLayer) {
  const RandomCache cache(120, test_seed());
  std::vector<std::vector<int32_t>> rows(kCacheHeads), first(kCacheHeads);
  for (int head = 0; head < kCacheHeads; ++head) {
    for (int row = head; row < 120; row += 2) rows[head].push_back(row);
    first[head] = {0, 1, 2, 10, 11, 30};
  }
  // The same rows, alone in a cache of their own. No first token is special there: both caches have it.
  RandomCache other(60, 1);
  for (int head = 0; head < kCacheHeads; ++head)
    for (int i = 0; i < 60; ++i) {
      other.rows[head][i] = cache.rows[head][rows[head][i]];
      RandomCache::write(other.sequence.row(0, head, i), other.rows[head][i]);
    }
  for (const char* text : {"knorm(ratio=0.5)", "keydiff(ratio=0.5)", "cur(ratio=0.5, n_sink=0)",
                           "lagkv(ratio=0.5, lag=20, n_sink=0)"}) {
    const auto press = press_of(text);
    EXPECT_EQ(press->score(cache.layer(0).narrowed(rows)), press->score(other.layer(0))) << text;
    EXPECT_EQ(press->score(cache.layer(0).narrowed(rows).narrowed(first)),
              press->score(other.layer(0).narrowed(first)))
        << text;
  }
}

}  // namespace
}  // namespace fastcache::press
