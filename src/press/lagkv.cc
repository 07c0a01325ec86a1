// SPDX-License-Identifier: Apache-2.0
// Keeps, of each partition, the rows that spread most over the ranges of the partition behind it. The first
// tokens stay, and so do the last partition and what is behind it, which have nothing to be compared with. A
// prompt too short for two partitions keeps its first and its most recent rows.
// source: LagKV, arXiv 2504.04704
#include <algorithm>
#include <cmath>
#include <numeric>

#include "press/registry.h"
#include "press/row_math.h"

namespace fastcache::press {
namespace {

constexpr float kNoRange = 1e-30f;  // a channel that spans no more counts as 0
constexpr float kStays = 1.0f;      // no row that competes has a higher score

// out: [n] = standard deviation over the channels of each row of x [n, head_dim], after (x - low) * scale.
FC_CLONES void spreads(const float* x, int n, int head_dim, const float* low, const float* scale, float* z,
                       float* out) {
  const auto channels = static_cast<float>(head_dim);
  for (int r = 0; r < n; ++r, x += head_dim) {
    float sums[kLanes] = {}, squares[kLanes] = {};
    for (int d = 0; d < head_dim; d += kLanes)
      for (int i = 0; i < kLanes; ++i) {
        z[d + i] = (x[d + i] - low[d + i]) * scale[d + i];
        sums[i] += z[d + i];
      }
    const float mean = folded(sums) / channels;
    for (int d = 0; d < head_dim; d += kLanes)
      for (int i = 0; i < kLanes; ++i) squares[i] += (z[d + i] - mean) * (z[d + i] - mean);
    out[r] = std::sqrt(folded(squares) / (channels - 1.0f));
  }
}

// In place; NaN has no part in it and stays.
void softmax(std::span<float> x) {
  float highest = -std::numeric_limits<float>::infinity();
  for (const float value : x) highest = std::max(highest, value);
  float sum = 0.0f;
  for (float& value : x) {
    value = std::exp(value - highest);
    if (!std::isnan(value)) sum += value;
  }
  for (float& value : x) value /= sum;
}

// x becomes place / n among the n scores, the lowest at 0; NaN below all, of equal ones the last.
void make_places(std::span<float> x) {
  std::vector<int> order(x.size());
  std::iota(order.rbegin(), order.rend(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return std::isnan(x[a]) ? !std::isnan(x[b]) : x[a] < x[b]; });
  for (size_t place = 0; place < order.size(); ++place)
    x[order[place]] = static_cast<float>(place) / static_cast<float>(x.size());
}

class LagKv final : public Press {
 public:
  LagKv(int n_sink, int lag, bool across) : n_sink_(n_sink), lag_(lag), across_(across) {}

  PressNeeds needs() const override { return {.keys = true, .values = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores[head] = score_head(layer, head);
    return scores;
  }

 private:
  HeadScores score_head(const LayerInput& layer, int head) const {
    const int n_rows = layer.n_rows(head);
    HeadScores scores(n_rows, kStays);
    int first = 0;
    while (first < n_rows && layer.token(head, first) < n_sink_) ++first;
    const int n = n_rows - first;
    if (n < 2 * lag_) {
      for (int i = 0; i < n; ++i) scores[first + i] = static_cast<float>(i) / static_cast<float>(n);
      return scores;
    }
    Partition here(lag_, layer.head_dim()), behind = here;
    here.read(layer, head, first);
    const int n_partitions = n / lag_;
    for (int p = 1; p < n_partitions; ++p) {
      behind.read(layer, head, first + p * lag_);
      compare(here, behind, layer.head_dim(), std::span{scores}.subspan(first + (p - 1) * lag_, lag_));
      std::swap(here, behind);
    }
    favour_ends(scores, first, first + (n_partitions - 1) * lag_);
    return scores;
  }

  struct Partition {
    Partition(int lag, int head_dim) : k(static_cast<size_t>(lag) * head_dim), v(k.size()), n(lag) {}
    void read(const LayerInput& layer, int head, int begin) {
      layer.read_rows(head, begin, n, k.data(), v.data());
    }
    std::vector<float> k, v;  // [lag, head_dim]
    int n;
  };

  // out: [lag], of the rows in `here`.
  void informations(const std::vector<float>& here, const std::vector<float>& behind, int head_dim,
                    std::span<float> out) const {
    std::vector<float> low(head_dim), scale(head_dim), z(head_dim);
    channel_ranges(behind.data(), lag_, head_dim, low.data(), scale.data());
    for (int d = 0; d < head_dim; ++d) {
      const float range = scale[d] - low[d];
      if (!(range > kNoRange)) low[d] = 0.0f;
      scale[d] = range > kNoRange ? 1.0f / range : 0.0f;
    }
    spreads(here.data(), lag_, head_dim, low.data(), scale.data(), z.data(), out.data());
    softmax(out);
  }

  // scores: [lag] of the rows in `here`.
  void compare(const Partition& here, const Partition& behind, int head_dim, std::span<float> scores) const {
    std::vector<float> of_values(lag_);
    informations(here.k, behind.k, head_dim, scores);
    informations(here.v, behind.v, head_dim, of_values);
    for (int i = 0; i < lag_; ++i) scores[i] = (scores[i] + of_values[i]) / 2.0f;
    if (!across_) make_places(scores);
  }

  // A budget may be too small for all that stays: then the first tokens come first, and the most recent rows
  // before older ones. Too little to matter where other presses' scores are compared with these.
  static void favour_ends(HeadScores& scores, int first, int tail) {
    constexpr float kLittle = 1.0f / 4096.0f;
    for (int row = 0; row < first; ++row) scores[row] += kLittle;
    const int n_tail = static_cast<int>(scores.size()) - tail;
    for (int i = 0; i < n_tail; ++i)
      scores[tail + i] += kLittle * static_cast<float>(i) / static_cast<float>(n_tail);
  }

  int n_sink_;
  int lag_;
  bool across_;
};

constexpr PressNumber kNumbers[] = {
    {.name = "cross_scoring",
     .standard = 0,
     .min = 0,
     .max = 1,
     .whole = true,
     .help = "1: scores of all partitions compete; 0: each partition gives up the same share"},
    {.name = "lag", .standard = 128, .min = 2, .max = 1 << 16, .whole = true, .help = "rows of a partition"},
    kSinkTokens};

}  // namespace

extern const PressRow kLagKv;
constinit const PressRow kLagKv{.name = "lagkv",
                                .make = [](const PressParams& p) -> std::unique_ptr<Press> {
                                  return std::make_unique<LagKv>(static_cast<int>(p.number("n_sink")),
                                                                 static_cast<int>(p.number("lag")),
                                                                 p.number("cross_scoring") != 0.0);
                                },
                                .numbers = kNumbers,
                                .summary = "rows that spread over the ranges of the partition behind theirs"};

}  // namespace fastcache::press
