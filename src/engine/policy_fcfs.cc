// SPDX-License-Identifier: Apache-2.0
// First come, first served: the first prompt gets all there is, the next what is left. The baseline.
#include <algorithm>

#include "engine/policy.h"

namespace fastcache::engine {
namespace {

class FcfsPolicy final : public Policy {
 public:
  const char* name() const override { return "fcfs"; }

  void share_prefill(const PolicyStep& step, std::span<int> tokens) const override {
    int left = step.token_budget;
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = std::min(left, step.prefills[i].tokens_left);
      left -= tokens[i];
    }
  }

  void observe(const StepShape&, double) override {}
};

}  // namespace

std::unique_ptr<Policy> make_fcfs_policy(const PolicyConfig&) { return std::make_unique<FcfsPolicy>(); }

}  // namespace fastcache::engine
