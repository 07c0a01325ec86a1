// SPDX-License-Identifier: Apache-2.0
// Every token of a running answer waits for the whole step that it is in. So while something decodes, prompts
// get only what keeps the step's predicted duration under the target; otherwise the whole budget.
#include <algorithm>

#include "engine/policy.h"

namespace fastcache::engine {
namespace {

class DynamicPolicy final : public Policy {
 public:
  explicit DynamicPolicy(const PolicyConfig& config) : config_(config), model_(config.prior) {}

  const char* name() const override { return "dynamic"; }

  void share_prefill(const PolicyStep& step, std::span<int> tokens) const override {
    const bool someone_waits = step.decided.decode_rows > 0;
    StepShape shape = step.decided;
    int left = step.token_budget;
    int owed = someone_waits ? config_.min_prefill_tokens : left;
    for (size_t i = 0; i < tokens.size() && left > 0; ++i) {
      const PrefillView& prompt = step.prefills[i];
      const int most = std::min(left, prompt.tokens_left);
      const int least = std::min(owed, most);
      const int n = std::max(least, tokens_in_time(shape, prompt, most));
      tokens[i] = n;
      left -= n;
      owed = std::max(0, owed - n);
      shape = shape + prefill_shape(n, prompt.kv_rows);
      if (n < prompt.tokens_left && owed == 0) return;  // the next one would pass the target as well
    }
  }

  void observe(const StepShape& shape, double duration_ms) override { model_.observe(shape, duration_ms); }

 private:
  // The most tokens of the prompt with which the step keeps the target.
  int tokens_in_time(const StepShape& shape, const PrefillView& prompt, int most) const {
    int good = 0, late = most + 1;
    while (late - good > 1) {
      const int middle = good + (late - good) / 2;
      const double ms = model_.predict_ms(shape + prefill_shape(middle, prompt.kv_rows));
      (ms <= config_.itl_target_ms ? good : late) = middle;
    }
    return good;
  }

  PolicyConfig config_;
  CostModel model_;
};

}  // namespace

std::unique_ptr<Policy> make_dynamic_policy(const PolicyConfig& config) {
  return std::make_unique<DynamicPolicy>(config);
}

}  // namespace fastcache::engine
