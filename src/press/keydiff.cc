// SPDX-License-Identifier: Apache-2.0
// Keeps the rows whose keys point away from the mean direction of all keys: they say what others do not.
// source: KeyDiff, arXiv 2504.15364
#include <algorithm>
#include <cmath>

#include "press/registry.h"
#include "press/row_math.h"

namespace fastcache::press {
namespace {

// Below these a length counts as that long.
constexpr float kShortestKey = 1e-12f, kShortestCosine = 1e-8f;

class KeyDiff final : public Press {
 public:
  PressNeeds needs() const override { return {.keys = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores[head] = score_head(layer, head);
    return scores;
  }

 private:
  static HeadScores score_head(const LayerInput& layer, int head) {
    const int n_rows = layer.n_rows(head), head_dim = layer.head_dim();
    std::vector<float> keys(static_cast<size_t>(n_rows) * head_dim);  // read once, used twice
    layer.read_keys(head, 0, n_rows, keys.data());
    std::vector<float> norms(n_rows);
    squared_norms(keys.data(), n_rows, head_dim, norms.data());
    for (float& norm : norms) norm = std::sqrt(norm);

    const std::vector<float> mean = mean_direction(keys, norms, head_dim);
    HeadScores scores(n_rows);
    dot_products(keys.data(), n_rows, head_dim, mean.data(), scores.data());
    float mean_norm = 0.0f;
    squared_norms(mean.data(), 1, head_dim, &mean_norm);
    mean_norm = std::max(std::sqrt(mean_norm), kShortestCosine);
    for (int row = 0; row < n_rows; ++row)
      scores[row] = -scores[row] / (std::max(norms[row], kShortestCosine) * mean_norm);
    return scores;
  }

  // [head_dim] of the unit keys. Rows that are not finite have no part in it; their own scores are NaN.
  static std::vector<float> mean_direction(const std::vector<float>& keys, const std::vector<float>& norms,
                                           int head_dim) {
    const int n_rows = static_cast<int>(norms.size());
    std::vector<double> sum(head_dim);
    std::vector<float> tile_sum(head_dim);
    for (int begin = 0; begin < n_rows; begin += kTileRows) {
      const int n = std::min(kTileRows, n_rows - begin);
      std::fill(tile_sum.begin(), tile_sum.end(), 0.0f);
      for (int row = begin; row < begin + n; ++row) {
        if (!std::isfinite(norms[row])) continue;
        const float weight = 1.0f / std::max(norms[row], kShortestKey);
        add_weighted_rows(&keys[static_cast<size_t>(row) * head_dim], 1, head_dim, &weight, tile_sum.data());
      }
      for (int d = 0; d < head_dim; ++d) sum[d] += tile_sum[d];
    }
    std::vector<float> mean(head_dim);
    for (int d = 0; d < head_dim; ++d) mean[d] = static_cast<float>(sum[d] / std::max(1, n_rows));
    return mean;
  }
};

}  // namespace

extern const PressRow kKeyDiff;
constinit const PressRow kKeyDiff{
    .name = "keydiff",
    .make = [](const PressParams&) -> std::unique_ptr<Press> { return std::make_unique<KeyDiff>(); },
    .numbers = {},
    .summary = "rows whose keys differ most from the mean direction"};

}  // namespace fastcache::press
