// SPDX-License-Identifier: Apache-2.0
#include "press/allocate.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

namespace fastcache::press {
namespace {

// Orders as the scores do, and no two rows are equal: the selection cannot depend on the algorithm.
uint64_t rank(float score, int32_t row) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes 0
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
  return (uint64_t{std::isnan(score) ? 0 : ordered} << 32) | ~static_cast<uint32_t>(row);
}

// One head's part of a budget that is being shared out.
struct Share {
  double share = 0.0;
  int n_rows = 0;

  int count(double level) const {
    if (n_rows == 0) return 0;
    return static_cast<int>(std::clamp(std::floor(level * share), 1.0, static_cast<double>(n_rows)));
  }
};

// The highest level at which the counts' sum is still within the total, to the last bit.
double water_level(std::span<const Share> heads, int64_t total) {
  const auto fits = [&](double level) {
    int64_t sum = 0;
    for (const Share& head : heads) sum += head.count(level);
    return sum <= total;
  };
  double low = 0.0;
  double high = 0.0;
  for (const Share& head : heads) high = std::max(high, (head.n_rows + 1) / head.share);
  if (fits(high)) return high;
  while (true) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) return low;
    (fits(middle) ? low : high) = middle;
  }
}

}  // namespace

RowCounts uniform_counts(const Scores& scores, const Budget& budget) {
  RowCounts counts(scores.heads.size());
  for (size_t p = 0; p < counts.size(); ++p)
    counts[p] = budget.rows_kept(scores.n_rows(static_cast<int>(p)), scores.n_staying[p]);
  return counts;
}

RowCounts counts_by_shares(const Scores& scores, const Budget& budget, std::span<const double> shares) {
  RowCounts counts = uniform_counts(scores, budget);
  const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t{0});
  std::vector<Share> heads(counts.size());
  for (size_t p = 0; p < heads.size(); ++p) {
    assert(shares[p] > 0.0 && std::isfinite(shares[p]));
    heads[p] = {.share = shares[p], .n_rows = scores.n_rows(static_cast<int>(p))};
  }
  const double level = water_level(heads, total);
  int64_t left = total;
  for (size_t p = 0; p < heads.size(); ++p) left -= counts[p] = heads[p].count(level);

  // Fewer rows are left than there are heads whose next row comes at the very same level.
  while (left > 0) {
    size_t best = heads.size();
    double best_level = std::numeric_limits<double>::infinity();
    for (size_t p = 0; p < heads.size(); ++p) {
      const double next = (counts[p] + 1) / heads[p].share;
      if (counts[p] < heads[p].n_rows && (best == heads.size() || next < best_level)) {
        best = p;
        best_level = next;
      }
    }
    assert(best < heads.size());
    ++counts[best];
    --left;
  }
  return counts;
}

void compete(std::span<const HeadScores> heads, std::span<int> counts, double certain_share) {
  int left = 0;
  std::vector<float> pool;       // scores of the rows that compete, head after head
  std::vector<size_t> pool_end;  // [heads]
  for (size_t h = 0; h < heads.size(); ++h) {
    const int certain = std::min(counts[h], std::max(1, static_cast<int>(counts[h] * certain_share)));
    left += counts[h] - certain;
    counts[h] = certain;
    const std::vector<int32_t> safe = best_rows_ascending(heads[h], certain);
    auto next_safe = safe.begin();
    for (int row = 0; row < static_cast<int>(heads[h].size()); ++row) {
      if (next_safe != safe.end() && *next_safe == row)
        ++next_safe;
      else
        pool.push_back(heads[h][row]);
    }
    pool_end.push_back(pool.size());
  }
  size_t head = 0;
  for (const int32_t winner : best_rows_ascending(pool, left)) {
    while (static_cast<size_t>(winner) >= pool_end[head]) ++head;
    ++counts[head];
  }
}

std::vector<int32_t> best_rows_ascending(std::span<const float> scores, int n_keep) {
  assert(n_keep >= 0 && n_keep <= static_cast<int>(scores.size()));
  std::vector<int32_t> rows;
  if (n_keep == 0) return rows;
  std::vector<uint64_t> ranks(scores.size());
  for (size_t row = 0; row < scores.size(); ++row) ranks[row] = rank(scores[row], static_cast<int32_t>(row));
  std::vector<uint64_t> selected = ranks;
  const auto last = selected.begin() + (n_keep - 1);
  std::nth_element(selected.begin(), last, selected.end(), std::greater<>());
  rows.reserve(n_keep);
  for (size_t row = 0; row < scores.size(); ++row)
    if (ranks[row] >= *last) rows.push_back(static_cast<int32_t>(row));
  return rows;
}

}  // namespace fastcache::press
