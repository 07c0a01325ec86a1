// SPDX-License-Identifier: Apache-2.0
#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>

namespace fastcache::engine {

double log_sum_exp(std::span<const float> logits) {
  const float most = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - most);
  return most + std::log(sum);
}

std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, double log_sum, int n) {
  // A heap of n with the worst in front: nearly all logits are dismissed by one comparison.
  const auto better = [](const TokenLogprob& a, const TokenLogprob& b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
  };
  std::vector<TokenLogprob> top;
  for (size_t i = 0; i < logits.size() && n > 0; ++i) {
    if (top.size() == static_cast<size_t>(n)) {
      if (logits[i] <= top.front().logprob) continue;
      std::pop_heap(top.begin(), top.end(), better);
      top.pop_back();
    }
    top.push_back({static_cast<int32_t>(i), logits[i]});
    std::push_heap(top.begin(), top.end(), better);
  }
  std::sort_heap(top.begin(), top.end(), better);
  for (TokenLogprob& token : top) token.logprob = static_cast<float>(token.logprob - log_sum);
  return top;
}

}  // namespace fastcache::engine
