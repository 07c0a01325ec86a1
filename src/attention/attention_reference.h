// SPDX-License-Identifier: Apache-2.0
// For tests: attention in plain loops in double precision, with what rounding may cost at most.
#pragma once

#include <cmath>
#include <vector>

#include "attention/attention_testing.h"

namespace fastcache::attention {

struct ReferenceRow {
  std::vector<double> out;  // [head_dim]
  double score_noise = 0;   // |scale| * |q x k|, largest over the rows: a relative error e of q's channels,
                            // independent of each other, moves a score by about e times this
  double query_norm = 0;    // |scale| * max|q| * |k|, largest over the rows: the same for an absolute error
  double largest_v = 0;     // after factors
};

struct ReferenceScore {
  double score = 0;
  double v_factor = 1;
  std::vector<float> v;
};

inline std::vector<double> rotated_query(const AttentionCase& of, const float* q, int32_t delta) {
  std::vector<double> x(q, q + of.shape.head_dim);
  const int n_pairs = of.rope.n_dims / 2;
  for (int i = 0; i < n_pairs; ++i) {
    const double angle =
        -static_cast<double>(delta) * static_cast<double>(of.rope.inverse_frequency[static_cast<size_t>(i)]);
    const bool adjacent = of.rope.style == RopeStyle::adjacent;
    double& a = x[static_cast<size_t>(adjacent ? 2 * i : i)];
    double& b = x[static_cast<size_t>(adjacent ? 2 * i + 1 : i + n_pairs)];
    const double first = a, second = b;
    a = first * std::cos(angle) - second * std::sin(angle);
    b = first * std::sin(angle) + second * std::cos(angle);
  }
  return x;
}

// One row of the cache as a query sees it; keeps track of what rounding may do.
inline ReferenceScore reference_score(AttentionCase& of, const kv::TableEntry& entry, int row, const float* q,
                                      ReferenceRow& noise) {
  const size_t n = static_cast<size_t>(of.shape.head_dim);
  std::vector<float> k(n);
  ReferenceScore result;
  result.v.resize(n);
  kv::read_row(of.pages.page(entry.page), entry.type, of.shape.head_dim, row, k.data(), result.v.data());
  const std::vector<double> rotated = rotated_query(of, q, entry.position_delta);
  const double k_factor =
      entry.extras != nullptr && entry.extras->k_factor != nullptr ? entry.extras->k_factor[row] : 1;
  if (entry.extras != nullptr && entry.extras->v_factor != nullptr)
    result.v_factor = entry.extras->v_factor[row];
  double dot = 0, squares = 0, k_squares = 0, largest_q = 0;
  for (size_t c = 0; c < n; ++c) {
    const double product = rotated[c] * k[c];
    dot += product;
    squares += product * product;
    k_squares += double{k[c]} * k[c];
    largest_q = std::max(largest_q, std::abs(rotated[c]));
    noise.largest_v = std::max(noise.largest_v, std::abs(result.v[c] * result.v_factor));
  }
  const double scale = of.batch().shape.scale * k_factor;
  noise.score_noise = std::max(noise.score_noise, std::abs(scale) * std::sqrt(squares));
  noise.query_norm = std::max(noise.query_norm, std::abs(scale) * largest_q * std::sqrt(k_squares));
  result.score = dot * scale;
  if (of.shape.softcap > 0) result.score = of.shape.softcap * std::tanh(result.score / of.shape.softcap);
  if (entry.extras != nullptr && entry.extras->bias != nullptr) result.score += entry.extras->bias[row];
  return result;
}

inline ReferenceRow reference_row(AttentionCase& of, size_t sequence, int query, int head) {
  const AttentionSequence& view = of.views[sequence];
  const size_t kv_head = static_cast<size_t>(head / of.shape.group);
  const kv::HeadRows& rows = view.heads[kv_head];
  const float* q = of.q.data() + static_cast<size_t>(view.first_query + query) * of.stride +
                   static_cast<size_t>(head * of.shape.head_dim);
  const int end =
      rows.n_rows - view.n_queries + of.sequences[sequence].visible_new[static_cast<size_t>(query)];
  const int position = of.sequences[sequence].query_positions[static_cast<size_t>(query)];
  ReferenceRow result;
  std::vector<ReferenceScore> seen;
  double max = -1e300;
  for (const kv::TableEntry& entry : rows.entries) {
    for (int i = 0; i < entry.rows_used; ++i) {
      const int row = static_cast<int>(entry.first_row) + i;
      const int at = of.sequences[sequence].positions[kv_head][static_cast<size_t>(row)];
      if (row >= end || (of.shape.window > 0 && at <= position - of.shape.window)) continue;
      seen.push_back(reference_score(of, entry, i, q, result));
      max = std::max(max, seen.back().score);
    }
  }
  double sum = 0;
  result.out.assign(static_cast<size_t>(of.shape.head_dim), 0);
  for (const ReferenceScore& each : seen) {
    const double weight = std::exp(each.score - max);
    sum += weight;
    for (size_t c = 0; c < result.out.size(); ++c) result.out[c] += weight * each.v_factor * each.v[c];
  }
  for (double& x : result.out) x /= sum;
  return result;
}

}  // namespace fastcache::attention
