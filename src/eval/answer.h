// SPDX-License-Identifier: Apache-2.0
// A task, answered on any number of caches side by side. Owner: one thread.
#pragma once

#include <span>
#include <vector>

#include "eval/retrieval.h"
#include "eval/workbench.h"

namespace fastcache::eval {

struct Answer {
  double exact = 0;   // share of the values in the greedy answer
  double likely = 0;  // share of the values that the model finds likelier than every wrong one
  int n_tokens = 0;   // generated or scored
  int n_on_compressed = 0;
};

// sequences: of the task's context (query_aware: with its question); they are appended to. Throws Error:
// invalid_model (logits that are not finite), pool_too_small.
std::vector<Answer> answer_task(Workbench& bench, const Task& task, bool query_aware,
                                std::span<kv::Sequence* const> sequences);

// Sequences that live besides each of those answered.
constexpr int kForksOfAnAnswer = kWrongValues + 2;

}  // namespace fastcache::eval
