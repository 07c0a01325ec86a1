// SPDX-License-Identifier: Apache-2.0
// SnapKV's scores with budgets that shrink from the first layer to the last.
// source: PyramidKV, arXiv 2406.02069
#include <cmath>
#include <numeric>

#include "press/allocate.h"
#include "press/registry.h"
#include "press/snapkv.h"

namespace fastcache::press {
namespace {

// What the layers of a head that has n_rows candidates keep, n_even if all kept the same: from `first` in the
// first layer straight down to `last`.
struct Slope {
  double first = 0, last = 0;

  double at(int layer, int n_layers) const {
    return n_layers == 1 ? (first + last) / 2 : first - layer * (first - last) / (n_layers - 1);
  }
};

// Level where the last layer would keep less than the window, or the first less than the last.
Slope slope(int n_rows, int n_even, int window, double beta) {
  Slope made{.first = 0, .last = n_even / beta};
  made.first = 2.0 * n_even - made.last;
  if (made.first >= n_rows - window) {
    made.first = n_rows - window;
    made.last = 2.0 * n_even - made.first;
  }
  const bool possible = n_rows >= made.first && made.first >= made.last && made.last >= window;
  return possible ? made : Slope{static_cast<double>(n_even), static_cast<double>(n_even)};
}

class PyramidKv final : public Press {
 public:
  PyramidKv(const SnapKvParams& params, double beta) : params_(params), beta_(beta) {}

  PressNeeds needs() const override { return {.keys = true, .last_queries = params_.window}; }
  LayerScores score(const LayerInput& layer) const override { return snapkv_scores(layer, params_); }

  // The even share is whole rows, and halves go to the even number: so the layers of a head have exactly as
  // many rows together as without the slope. Where a head's layers hold different numbers of rows, an uneven
  // compression was there before: then the slopes are shares.
  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    const RowCounts even = uniform_counts(scores, budget);
    RowCounts counts(even.size());
    std::vector<double> shares(even.size());
    for (size_t pair = 0; pair < even.size(); ++pair) {
      const int n_rows = scores.n_rows(static_cast<int>(pair));
      const int layer = static_cast<int>(pair) / scores.n_kv_heads;
      shares[pair] = slope(n_rows, even[pair], params_.window, beta_).at(layer, scores.n_layers);
      counts[pair] = static_cast<int>(std::nearbyint(shares[pair]));
    }
    const auto total = [](const RowCounts& c) { return std::accumulate(c.begin(), c.end(), int64_t{0}); };
    if (total(counts) == total(even)) return counts;
    for (double& share : shares) share = std::max(share, 1e-6);
    return counts_by_shares(scores, budget, shares);
  }

 private:
  SnapKvParams params_;
  double beta_;
};

constexpr PressNumber kNumbers[] = {
    {.name = "beta",
     .standard = 20,
     .min = 1,
     .max = 1e6,
     .help = "how steep: the last layer's even share / beta"},
    {.name = "kernel", .standard = 5, .min = 1, .max = 99, .whole = true, .help = "as of snapkv"},
    {.name = "window",
     .standard = 64,
     .min = 1,
     .max = model::kMostLastQueries,
     .whole = true,
     .help = "as of snapkv"}};

}  // namespace

extern const PressRow kPyramidKv;
constinit const PressRow kPyramidKv{
    .name = "pyramidkv",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<PyramidKv>(snapkv_params(p), p.number("beta"));
    },
    .numbers = kNumbers,
    .summary = "as snapkv, with more rows in the first layers and fewer in the last",
    .plain_scores = false,
    .plain_rows = true};

}  // namespace fastcache::press
