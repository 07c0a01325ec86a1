// SPDX-License-Identifier: Apache-2.0
// Half of the rows go by the wrapped press's scores s, the other half by (s + epsilon) * norm1(W_O v): by how
// far a row can move the layer's output. The counts are the wrapped press's, so around adakv this is the
// authors' CriticalAdaKV. Meant for scores that are not negative, as all that stand for attention: negative
// ones prefer short values, as the formula says, and cost the norms of all rows.
// source: CriticalKV, arXiv 2502.03805
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>

#include "press/allocate.h"
#include "press/output_norm.h"
#include "press/wrapper.h"

namespace fastcache::press {
namespace {

constexpr float kLowest = std::numeric_limits<float>::quiet_NaN();  // as press.h says of scores

// Of the rows that are left after the first half: those whose scores times norms are highest. Norms cost far
// more than their bounds, so they are taken from the highest bound down, until no row can come in any more.
class SecondHalf {
 public:
  // scores: [rows], s + epsilon of each.
  SecondHalf(const LayerInput& layer, int head, std::vector<int32_t> rows, std::vector<float> scores)
      : norm_(layer, head),
        rows_(std::move(rows)),
        scores_(std::move(scores)),
        products_(rows_.size(), kLowest) {}

  // Indices of rows, ascending.
  std::vector<int32_t> best(int n) {
    std::vector<std::pair<float, int32_t>> order = bounds();  // and whose they are
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<int32_t> next;
    for (size_t at = 0; at < order.size();) {
      const auto n_known = static_cast<int>(best_.size());
      if (n_known == n && order[at].first < best_.top()) break;  // a row as high as it might stand before it
      const size_t step = n_known < n ? static_cast<size_t>(n - n_known) : kStep;
      const size_t end = std::min(order.size(), at + (step + kStep - 1) / kStep * kStep);
      next.clear();
      for (; at < end; ++at) next.push_back(order[at].second);
      multiply(next, n);
    }
    return best_rows_ascending(products_, n);
  }

 private:
  static constexpr size_t kStep = 64;  // rows whose norms are taken at once

  // [rows]: what the product can be at most, and the row's index.
  std::vector<std::pair<float, int32_t>> bounds() const {
    const std::vector<float> norms = norm_.bounds();
    std::vector<std::pair<float, int32_t>> most(rows_.size());
    for (size_t i = 0; i < most.size(); ++i) {
      const float product = scores_[i] * norms[rows_[i]];
      most[i].first =
          std::isfinite(product) ? std::max(product, 0.0f) : std::numeric_limits<float>::infinity();
      most[i].second = static_cast<int32_t>(i);
    }
    return most;
  }

  void multiply(std::span<const int32_t> indices, int n) {
    std::vector<int32_t> rows;
    for (const int32_t i : indices) rows.push_back(rows_[i]);
    std::vector<float> norms(rows.size());
    norm_.norms(rows, norms.data());
    for (size_t i = 0; i < indices.size(); ++i) {
      const float score = scores_[indices[i]];
      float product = score * norms[i];
      if (score == std::numeric_limits<float>::infinity()) product = score;  // it must stay
      if (!std::isfinite(norms[i]) || std::isnan(product)) continue;
      products_[indices[i]] = product;
      best_.push(product);
      if (static_cast<int>(best_.size()) > n) best_.pop();
    }
  }

  OutputNorm norm_;
  std::vector<int32_t> rows_;  // candidates, ascending
  std::vector<float> scores_;  // [rows]
  // The n highest products so far, the lowest of them on top.
  std::priority_queue<float, std::vector<float>, std::greater<>> best_{};
  std::vector<float> products_;  // [rows], NaN: not known yet, or of values that are not finite
};

class CriticalKv final : public Wrapper {
 public:
  CriticalKv(std::unique_ptr<Press> inner, double epsilon, double first_share)
      : Wrapper(std::move(inner)), epsilon_(static_cast<float>(epsilon)), first_share_(first_share) {}

  PressNeeds needs() const override {
    return united({.values = true, .output_weights = true}, inner().needs());
  }

  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    return inner().allocate(scores, budget);
  }

  Edit apply(const LayerInput& layer, int head, std::span<const float> scores, int n_keep) const override {
    const int n_rows = static_cast<int>(scores.size());
    int n_first = static_cast<int>(n_keep * first_share_);
    if (first_share_ > 0) n_first = std::max(n_first, std::min(1, n_keep));
    if (n_keep == n_rows) n_first = n_keep;
    Edit edit{.rows = best_rows_ascending(scores, n_first)};
    if (n_first == n_keep) return edit;

    std::vector<int32_t> others;
    std::vector<float> their_scores;
    for (int row = 0; row < n_rows; ++row) {
      if (std::binary_search(edit.rows.begin(), edit.rows.end(), row)) continue;
      others.push_back(row);
      their_scores.push_back(scores[row] + epsilon_);
    }
    for (const int32_t i : SecondHalf(layer, head, others, std::move(their_scores)).best(n_keep - n_first))
      edit.rows.push_back(others[i]);
    std::sort(edit.rows.begin(), edit.rows.end());
    return edit;
  }

 private:
  float epsilon_;
  double first_share_;
};

constexpr PressNumber kNumbers[] = {
    {.name = "epsilon",
     .standard = 1e-4,
     .min = 0,
     .max = 1,
     .help = "added to the scores, so that rows without any still differ by their values"},
    {.name = "first_share",
     .standard = 0.5,
     .min = 0,
     .max = 1,
     .help = "share of the rows that stay by the scores alone"}};

}  // namespace

extern const PressRow kCriticalKv;
constinit const PressRow kCriticalKv{
    .name = "criticalkv",
    .numbers = kNumbers,
    .summary = "half of the rows by their scores, the others also by how far their values move the output",
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      return std::make_unique<CriticalKv>(std::move(inner[0]), p.number("epsilon"), p.number("first_share"));
    },
    .min_inner = 1,
    .max_inner = 1,
    .keeps_counts = true};

}  // namespace fastcache::press
