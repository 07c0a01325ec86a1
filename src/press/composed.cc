// SPDX-License-Identifier: Apache-2.0
// One press after the other: each sees only what the ones before it kept.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

class Composed final : public Press {
 public:
  Composed(std::vector<std::unique_ptr<Press>> inner, std::vector<Budget> budgets)
      : inner_(std::move(inner)), budgets_(std::move(budgets)) {
    assert(!inner_.empty() && inner_.size() == budgets_.size());
  }

  PressNeeds needs() const override {
    PressNeeds needs;
    for (const auto& press : inner_) needs = united(needs, press->needs());
    return needs;
  }

  std::vector<Stage> stages(const Budget& /*each has its own*/) const override {
    std::vector<Stage> stages;
    for (size_t i = 0; i < inner_.size(); ++i)
      for (const Stage& stage : inner_[i]->stages(budgets_[i])) stages.push_back(stage);
    return stages;
  }

  std::vector<Probe> probes(int first_token, int end_token) const override {
    for (const auto& press : inner_)
      if (press->needs().second_pass) return press->probes(first_token, end_token);
    return {};
  }

  // The first stage's, the only one that sees all rows.
  LayerScores score(const LayerInput& layer) const override { return inner_.front()->score(layer); }

 private:
  std::vector<std::unique_ptr<Press>> inner_;
  std::vector<Budget> budgets_;
};

// Throws Error (bad_request).
void check_order(const PressParams& params, const std::vector<std::unique_ptr<Press>>& inner) {
  const auto refuse = [](const std::string& why) {
    throw Error{Code::bad_request, "press 'composed': " + why};
  };
  int n_second_passes = 0;
  bool quantizes = false, merges = false;
  int n_layers = 0;
  for (size_t i = 0; i < inner.size(); ++i) {
    const PressNeeds needs = inner[i]->needs();
    if (needs.new_rows && i + 1 < inner.size())
      refuse(fmt::format("'{}' makes new rows, which the presses behind it would not see; put it last",
                         params.inner[i].name));
    if (needs.second_pass && ++n_second_passes > 1)
      refuse("only one of its presses may read the prompt a second time");
    if (needs.n_layers != 0 && n_layers != 0 && needs.n_layers != n_layers)
      refuse(fmt::format("its presses have lists for {} and for {} layers", n_layers, needs.n_layers));
    n_layers = std::max(n_layers, needs.n_layers);
    quantizes |= needs.page_bits > 0;
    merges |= needs.new_rows;
  }
  if (quantizes && merges) refuse("quantised pages carry no rows of a press's own; leave one of the two out");
}

}  // namespace

extern const PressRow kComposed;
constinit const PressRow kComposed{
    .name = "composed",
    .numbers = {},
    .summary = "one press after the other, each over what the ones before kept",
    .amount = Amount::inner,
    .plain_scores = false,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      check_order(p, inner);
      std::vector<Budget> budgets;
      for (const PressParams& stage : p.inner) budgets.push_back(stage.how_much());
      return std::make_unique<Composed>(std::move(inner), std::move(budgets));
    },
    .min_inner = 2,
    .max_inner = 8};

}  // namespace fastcache::press
