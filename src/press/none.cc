// SPDX-License-Identifier: Apache-2.0
// Keeps everything: the baseline that every comparison has.
#include "press/registry.h"

namespace fastcache::press {
namespace {

class None final : public Press {
 public:
  PressNeeds needs() const override { return {}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores;
    for (int head = 0; head < layer.n_kv_heads(); ++head) scores.emplace_back(layer.n_rows(head), 0.0f);
    return scores;
  }
};

}  // namespace

extern const PressRow kNone;
constinit const PressRow kNone{
    .name = "none",
    .make = [](const PressParams&) -> std::unique_ptr<Press> { return std::make_unique<None>(); },
    .numbers = {},
    .removes = false,
    .summary = "keeps everything",
    .plain_scores = false};

}  // namespace fastcache::press
