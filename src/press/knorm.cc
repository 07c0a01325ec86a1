// SPDX-License-Identifier: Apache-2.0
// Keeps the rows whose keys are short: they tend to be those that queries attend to.
// source: "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression", arXiv 2406.11430
#include <algorithm>
#include <cmath>

#include "press/registry.h"
#include "press/row_math.h"

namespace fastcache::press {
namespace {

class Knorm final : public Press {
 public:
  PressNeeds needs() const override { return {.keys = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    std::vector<float> keys(static_cast<size_t>(kTileRows) * layer.head_dim());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      const int n_rows = layer.n_rows(head);
      scores[head].resize(n_rows);
      for (int row = 0; row < n_rows; row += kTileRows) {
        const int n = std::min(kTileRows, n_rows - row);
        layer.read_keys(head, row, n, keys.data());
        float* const here = scores[head].data() + row;
        squared_norms(keys.data(), n, layer.head_dim(), here);
        for (int r = 0; r < n; ++r) here[r] = -std::sqrt(here[r]);
      }
    }
    return scores;
  }
};

}  // namespace

extern const PressRow kKnorm;
constinit const PressRow kKnorm{
    .name = "knorm",
    .make = [](const PressParams&) -> std::unique_ptr<Press> { return std::make_unique<Knorm>(); },
    .numbers = {},
    .summary = "rows with short keys"};

}  // namespace fastcache::press
