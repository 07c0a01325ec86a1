// SPDX-License-Identifier: Apache-2.0
// A ratio for each layer, in a list.
#include <cassert>
#include <limits>

#include "press/wrapper.h"

namespace fastcache::press {
namespace {

class PerLayer final : public Wrapper {
 public:
  PerLayer(std::unique_ptr<Press> inner, std::vector<double> ratios)
      : Wrapper(std::move(inner)), ratios_(std::move(ratios)) {}

  PressNeeds needs() const override {
    return united({.n_layers = static_cast<int>(ratios_.size())}, inner().needs());
  }

  RowCounts allocate(const Scores& scores, const Budget& /*of no use*/) const override {
    assert(scores.n_layers == static_cast<int>(ratios_.size()));  // check_needs()
    RowCounts counts(scores.heads.size());
    for (int pair = 0; pair < static_cast<int>(counts.size()); ++pair) {
      const Budget budget{.ratio = ratios_[pair / scores.n_kv_heads]};
      counts[pair] = budget.rows_kept(scores.n_rows(pair), scores.n_staying[pair]);
    }
    return counts;
  }

 private:
  std::vector<double> ratios_;  // [n_layers]
};

constexpr PressNumber kNumbers[] = {{.name = "ratios",
                                     .min = 0,
                                     .max = 1.0 - std::numeric_limits<double>::epsilon(),
                                     .list = true,
                                     .help = "fraction removed, for each layer of the model"}};

}  // namespace

extern const PressRow kPerLayer;
constinit const PressRow kPerLayer{
    .name = "per_layer",
    .numbers = kNumbers,
    .summary = "a ratio for each layer",
    .amount = Amount::listed,
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      return std::make_unique<PerLayer>(std::move(inner[0]), p.lists.at("ratios"));
    },
    .min_inner = 1,
    .max_inner = 1};

}  // namespace fastcache::press
