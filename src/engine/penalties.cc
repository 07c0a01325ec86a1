// SPDX-License-Identifier: Apache-2.0
#include "engine/penalties.h"

namespace fastcache::engine {

Penalties::Penalties(const SamplingParams& params)
    : repetition_(params.repetition_penalty),
      presence_(params.presence_penalty),
      frequency_(params.frequency_penalty),
      last_n_(params.repeat_last_n) {}

bool Penalties::active() const {
  return last_n_ != 0 && (repetition_ != 1.0f || presence_ != 0.0f || frequency_ != 0.0f);
}

void Penalties::see(int32_t token, bool generated) {
  if (!active()) return;
  Counts& counts = counts_[token];
  ++counts.seen;
  counts.generated += generated ? 1 : 0;
  if (last_n_ < 0) return;
  window_.push_back({token, generated});
  if (window_.size() <= static_cast<size_t>(last_n_)) return;
  const Seen oldest = window_.front();
  window_.pop_front();
  const auto found = counts_.find(oldest.token);
  found->second.generated -= oldest.generated ? 1 : 0;
  if (--found->second.seen == 0) counts_.erase(found);
}

void Penalties::apply(std::span<float> logits) const {
  for (const auto& [token, counts] : counts_) {
    float& logit = logits[static_cast<size_t>(token)];
    logit = logit > 0.0f ? logit / repetition_ : logit * repetition_;
    if (counts.generated > 0) logit -= static_cast<float>(counts.generated) * frequency_ + presence_;
  }
}

}  // namespace fastcache::engine
