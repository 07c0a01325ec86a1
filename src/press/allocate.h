// SPDX-License-Identifier: Apache-2.0
// From scores and a budget to rows: how many per head, and which. Deterministic: ties go to the smaller
// index.
#pragma once

#include "press/press.h"

namespace fastcache::press {

// budget.rows_kept() in each head.
RowCounts uniform_counts(const Scores& scores, const Budget& budget);

// The sum of uniform_counts(), shared out in proportion to shares [pair] (each > 0, finite). A head gets at
// least 1 row if it has one and never more than it has; what it cannot take goes to the others.
RowCounts counts_by_shares(const Scores& scores, const Budget& budget, std::span<const double> shares);

// Shares the rows of `counts` out anew: in each head so many of its best are certain (that share of its
// count, at least 1 of what it has), for all else the rows of all heads compete. heads, counts: [n]; the sum
// stays.
void compete(std::span<const HeadScores> heads, std::span<int> counts, double certain_share);

// The n_keep rows with the highest scores, in ascending order of rows. Of equal scores the smaller rows; NaN
// comes after all others. 0 <= n_keep <= scores.size().
std::vector<int32_t> best_rows_ascending(std::span<const float> scores, int n_keep);

}  // namespace fastcache::press
