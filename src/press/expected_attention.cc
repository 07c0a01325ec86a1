// SPDX-License-Identifier: Apache-2.0
// Keeps the rows that the queries to come are expected to attend to. These are taken as normally distributed,
// with the mean and covariance of the prompt's queries, rotated on to the next positions.
// source: Expected Attention, arXiv 2510.00636
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "base/simd.h"
#include "press/query_attention.h"
#include "press/query_math.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr int kTileRows = 64;

// scores: [n] += the sum over the lanes of k * by. k: [n, head_dim], from channel `first`; by: [n, kColumns].
FC_CLONES void add_dots(const float* k, int n, int head_dim, int first, const float* by, float* scores) {
  constexpr int kWidth = 16;
  const int n_channels = std::min(kColumns, head_dim - first);  // a multiple of 16
  for (int row = 0; row < n; ++row, k += head_dim, by += kColumns) {
    float sums[kWidth] = {};
    for (int d = 0; d < n_channels; d += kWidth)
      for (int i = 0; i < kWidth; ++i) sums[i] += k[first + d + i] * by[d + i];
    for (int i = 0; i < 8; ++i) sums[i] += sums[i + 8];
    for (int i = 0; i < 4; ++i) sums[i] += sums[i + 4];
    scores[row] += (sums[0] + sums[2]) + (sums[1] + sums[3]);
  }
}

// scores: [n] = (scores + epsilon) * norm2 of each row of v [n, head_dim].
FC_CLONES void weigh_by_norms(const float* v, int n, int head_dim, float epsilon, float* scores) {
  constexpr int kWidth = 16;
  for (int row = 0; row < n; ++row, v += head_dim) {
    float sums[kWidth] = {};
    for (int d = 0; d < head_dim; d += kWidth)
      for (int i = 0; i < kWidth; ++i) sums[i] += v[d + i] * v[d + i];
    for (int i = 0; i < 8; ++i) sums[i] += sums[i + 8];
    for (int i = 0; i < 4; ++i) sums[i] += sums[i + 4];
    scores[row] = (scores[row] + epsilon) * std::sqrt((sums[0] + sums[2]) + (sums[1] + sums[3]));
  }
}

// cos_sin: [n_dims] as rope_angles() fills it, the mean over n positions from `first` on. The sum of a wave
// at even steps is one wave, so no position is looked at.
std::vector<double> mean_angles(const attention::RopeTable& rope, int first, int n) {
  std::vector<double> cos_sin(rope.n_dims);
  for (size_t pair = 0; pair < rope.inverse_frequency.size(); ++pair) {
    const double step = rope.inverse_frequency[pair];
    const double half = std::sin(step / 2);
    const double size = (half == 0 ? 1.0 : std::sin(n * step / 2) / (half * n)) * rope.magnitude;
    const double middle = (first + (n - 1) / 2.0) * step;
    cos_sin[2 * pair] = size * std::cos(middle);
    cos_sin[2 * pair + 1] = size * std::sin(middle);
  }
  return cos_sin;
}

// One vector, in double: x [head_dim], its channels `stride` apart.
void rotate(const attention::RopeTable& rope, std::span<const double> cos_sin, double* x, int stride) {
  const int n_pairs = rope.n_dims / 2;
  for (int pair = 0; pair < n_pairs; ++pair) {
    const bool halves = rope.style == attention::RopeStyle::halves;
    double& a = x[(halves ? pair : 2 * pair) * stride];
    double& b = x[(halves ? pair + n_pairs : 2 * pair + 1) * stride];
    const double c = cos_sin[2 * pair], s = cos_sin[2 * pair + 1], first = a, second = b;
    a = first * c - second * s;
    b = first * s + second * c;
  }
}

// The queries to come of one head, times the attention's scale: a row's exponent is k . (mean + spread k).
struct Expectation {
  std::vector<float> mean;    // [head_dim]
  std::vector<float> spread;  // [head_dim, head_dim], the lower half folded onto the upper one
};

Expectation expectation(const LayerInput& layer, int query_head, std::span<const double> cos_sin) {
  const model::QueryRecord& record = *layer.record();
  const int d = layer.head_dim();
  std::vector<double> mean(d), covariance(static_cast<size_t>(d) * d);
  record.moments.get(layer.layer(), query_head, mean.data(), covariance.data());
  if (const auto* table = layer.attention().rope; table != nullptr) {
    const attention::RopeTable& rope = *table;
    rotate(rope, cos_sin, mean.data(), 1);
    for (int i = 0; i < d; ++i) rotate(rope, cos_sin, covariance.data() + static_cast<size_t>(i) * d, 1);
    for (int i = 0; i < d; ++i) rotate(rope, cos_sin, covariance.data() + i, d);
  }
  const double scale = record.attention.scale;
  Expectation made{.mean = std::vector<float>(mean.size()), .spread = std::vector<float>(covariance.size())};
  for (size_t i = 0; i < mean.size(); ++i) made.mean[i] = static_cast<float>(mean[i] * scale);
  for (int i = 0; i < d; ++i)
    for (int j = i; j < d; ++j)
      made.spread[i * d + j] =
          static_cast<float>(covariance[static_cast<size_t>(i) * d + j] * scale * scale / (i == j ? 2 : 1));
  return made;
}

// exponents: [rows held], set. keys: [rows held, rounded up to whole tiles, head_dim].
void fill_exponents(const Expectation& e, std::span<const float> keys, int n_held, int d,
                    std::span<float> exponents) {
  std::fill(exponents.begin(), exponents.end(), 0.0f);
  std::vector<float> columns(static_cast<size_t>(d) * kColumns), out(kTileRows * kColumns);
  for (int first = 0; first < d; first += kColumns) {
    const int n_lanes = std::min(kColumns, d - first);
    for (int i = 0; i < d; ++i) std::copy_n(&e.spread[i * d + first], n_lanes, &columns[i * kColumns]);
    for (int row = 0; row < n_held; row += kTileRows) {
      const float* k = keys.data() + static_cast<size_t>(row) * d;
      for (int lane = 0; lane < n_lanes; lane += kHalfColumns)  // spread has nothing below its diagonal
        row_products(k, kTileRows, d, std::min(d, first + lane + kHalfColumns), &columns[lane], &out[lane]);
      for (int r = 0; r < kTileRows; ++r)
        for (int i = 0; i < n_lanes; ++i) out[r * kColumns + i] += e.mean[first + i];
      add_dots(k, std::min(kTileRows, n_held - row), d, first, out.data(), exponents.data() + row);
    }
  }
}

class ExpectedAttention final : public Press {
 public:
  explicit ExpectedAttention(const PressParams& p)
      : n_future_(static_cast<int>(p.number("n_future"))),
        n_sink_(static_cast<int>(p.number("n_sink"))),
        epsilon_(static_cast<float>(p.number("epsilon"))) {}

  PressNeeds needs() const override {
    return {.keys = true, .values = true, .query_statistics = true, .statistics_skip = n_sink_};
  }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    std::vector<double> cos_sin;
    if (const auto* rope = layer.attention().rope; rope != nullptr)
      cos_sin = mean_angles(*rope, layer.sequence().token_count(), n_future_);
    std::vector<float> keys;
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      scores[head].assign(layer.n_rows(head), 0.0f);
      add_attention(layer, head, cos_sin, keys, scores[head]);
      times_value_norms(layer, head, scores[head]);
    }
    raise_sinks(layer, scores);
    return scores;
  }

 private:
  // scores: += the mean of the group's softmax over all rows held, sinks aside.
  void add_attention(const LayerInput& layer, int head, std::span<const double> cos_sin,
                     std::vector<float>& keys, std::span<float> scores) const {
    const int n_held = layer.n_held(head), n_staying = layer.n_staying(head);
    const int group = queries_per_kv_head(layer), d = layer.head_dim();
    const size_t n_rounded = (static_cast<size_t>(n_held) + kTileRows - 1) / kTileRows * kTileRows;
    keys.resize(std::max(keys.size(), n_rounded * d));
    layer.read_held_keys(head, 0, n_held, keys.data());
    int begin = 0;
    while (begin < n_held && layer.held_token(head, begin) < n_sink_) ++begin;
    std::vector<float> weights(n_held);
    for (int g = 0; g < group; ++g) {
      fill_exponents(expectation(layer, head * group + g, cos_sin), keys, n_held, d, weights);
      const double sum = soften(std::span(weights).subspan(begin));
      const float share = sum > 0 ? static_cast<float>(1 / (sum * group)) : 0.0f;
      for (int row = std::max(begin, n_staying); row < n_held; ++row)
        scores[row - n_staying] += weights[row] * share;
    }
  }

  // Exponents become e^(exponent - largest), 0 where they are not finite. Returns the sum.
  static double soften(std::span<float> weights) {
    float highest = -FLT_MAX;
    for (float& w : weights) {
      if (!(std::abs(w) <= FLT_MAX)) w = -std::numeric_limits<float>::infinity();
      highest = std::max(highest, w);
    }
    double sum = 0;
    for (float& w : weights) sum += w = exp_of_negative(w - highest);
    return sum;
  }

  void times_value_norms(const LayerInput& layer, int head, std::span<float> scores) const {
    const int n_rows = layer.n_rows(head), d = layer.head_dim();
    std::vector<float> values(static_cast<size_t>(kTileRows) * d);
    for (int row = 0; row < n_rows; row += kTileRows) {
      const int n = std::min(kTileRows, n_rows - row);
      layer.read_values(head, row, n, values.data());
      weigh_by_norms(values.data(), n, d, epsilon_, scores.data() + row);
    }
  }

  // Sinks are the sequence's first tokens: they get the layer's highest score.
  void raise_sinks(const LayerInput& layer, LayerScores& scores) const {
    float highest = 0.0f;
    for (const HeadScores& head : scores)
      for (const float score : head) highest = score > highest && score <= FLT_MAX ? score : highest;
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (int row = 0; row < layer.n_rows(head) && layer.token(head, row) < n_sink_; ++row)
        scores[head][row] = highest;
  }

  int n_future_, n_sink_;
  float epsilon_;
};

constexpr PressNumber kNumbers[] = {
    {.name = "epsilon",
     .standard = 0.01,
     .min = 0,
     .max = 1,
     .help = "added to the attention before the length of the value weighs in"},
    {.name = "n_future",
     .standard = 512,
     .min = 1,
     .max = 1 << 20,
     .whole = true,
     .help = "positions to come that are looked at"},
    {.name = "n_sink",
     .standard = 4,
     .min = 0,
     .max = 1 << 20,
     .whole = true,
     .help = "first tokens, which stay and whose queries do not count"},
};

}  // namespace

extern const PressRow kExpectedAttention;
constinit const PressRow kExpectedAttention{
    .name = "expected_attention",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<ExpectedAttention>(p);
    },
    .numbers = kNumbers,
    .summary = "rows that the queries to come are expected to attend to"};

}  // namespace fastcache::press
