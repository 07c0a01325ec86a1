// SPDX-License-Identifier: Apache-2.0
// Log probabilities of the model itself: log softmax of the raw logits, before bias, penalties, truncation,
// temperature and grammar. So they compare between requests, and a sampled token may be an unlikely one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fastcache::engine {

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0.0f;  // natural logarithm
};

// log(sum(exp(logits))): a token's logprob is its logit less this. logits: [n_vocab], finite, not empty.
double log_sum_exp(std::span<const float> logits);

// The n likeliest, best first; of equals the lower id first. Fewer where the vocabulary has fewer.
std::vector<TokenLogprob> top_logprobs(std::span<const float> logits, double log_sum, int n);

}  // namespace fastcache::engine
