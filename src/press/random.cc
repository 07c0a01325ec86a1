// SPDX-License-Identifier: Apache-2.0
// Keeps rows by chance: the floor under every other method at the same number of bytes.
#include "press/random_score.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

class Random final : public Press {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}

  PressNeeds needs() const override { return {.seed = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      const int n_rows = layer.n_rows(head);
      scores[head].resize(n_rows);
      for (int row = 0; row < n_rows; ++row)
        scores[head][row] = random_score(seed_, layer.layer(), head, layer.token(head, row));
    }
    return scores;
  }

 private:
  uint64_t seed_;
};

}  // namespace

extern const PressRow kRandom;
constinit const PressRow kRandom{
    .name = "random",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> { return std::make_unique<Random>(p.seed); },
    .numbers = {},
    .summary = "rows by chance, from the seed"};

}  // namespace fastcache::press
