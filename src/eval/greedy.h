// SPDX-License-Identifier: Apache-2.0
// Greedy answers on any number of caches side by side, each until the model ends it. Owner: one thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "eval/workbench.h"

namespace fastcache::eval {

struct GreedyAnswer {
  std::string text{};
  int n_tokens = 0;  // generated, the one that ends it included
};

// Each sequence is fed its prompt (at least one token), then answers with at most answer_tokens. Throws
// Error: invalid_model (logits that are not finite), pool_too_small.
std::vector<GreedyAnswer> answer_greedily(Workbench& bench, std::span<kv::Sequence* const> sequences,
                                          const std::vector<Tokens>& prompts, int answer_tokens);

}  // namespace fastcache::eval
