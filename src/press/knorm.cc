// SPDX-License-Identifier: Apache-2.0
// Keeps the rows whose keys are short: they tend to be those that queries attend to.
// source: "A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression", arXiv 2406.11430
#include <algorithm>
#include <cmath>

#include "base/simd.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr int kTileRows = 64;  // keys of a tile stay in the first caches
constexpr int kLanes = 16;     // head_dim is a multiple of it

// scores: [n] = -norm2 of each row of k [n, head_dim]. Sixteen sums in a fixed order: the same bits on every
// CPU.
FC_CLONES void negative_norms(const float* k, int n, int head_dim, float* scores) {
  for (int r = 0; r < n; ++r, k += head_dim) {
    float sums[kLanes] = {};
    for (int d = 0; d < head_dim; d += kLanes)
      for (int i = 0; i < kLanes; ++i) sums[i] += k[d + i] * k[d + i];
    // Folded with bounds that the compiler knows: the sums stay in registers.
    for (int i = 0; i < 8; ++i) sums[i] += sums[i + 8];
    for (int i = 0; i < 4; ++i) sums[i] += sums[i + 4];
    scores[r] = -std::sqrt((sums[0] + sums[2]) + (sums[1] + sums[3]));
  }
}

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
        negative_norms(keys.data(), n, layer.head_dim(), scores[head].data() + row);
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
