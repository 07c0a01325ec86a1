// SPDX-License-Identifier: Apache-2.0
// The scheduler's seam with several implementations: how much of which prompt goes into a step beside the
// decode rows. Who runs at all, and the pages, are the Scheduler's.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "engine/cost_model.h"

namespace fastcache::engine {

struct PolicyConfig {
  double itl_target_ms = 50;    // dynamic: between two tokens of a running answer
  int min_prefill_tokens = 16;  // dynamic: prompts go on by so much even where the target cannot be met
  StepCosts prior{};            // dynamic: until steps were observed
};

struct PrefillView {
  int tokens_left = 0;
  int kv_rows = 0;
};

struct PolicyStep {
  int token_budget = 0;                   // left beside the decode rows, at least 1 where there is a prompt
  StepShape decided;                      // decode rows and compressions of the step
  std::span<const PrefillView> prefills;  // most important first
};

// Owner: one thread.
class Policy {
 public:
  virtual ~Policy() = default;
  virtual const char* name() const = 0;
  // tokens: [prefills.size()], all 0 when called. Sum at most token_budget, each at most tokens_left, the
  // first at least 1: a step that could do something does something.
  virtual void share_prefill(const PolicyStep& step, std::span<int> tokens) const = 0;
  virtual void observe(const StepShape& shape, double duration_ms) = 0;
};

struct PolicyEntry {
  const char* name;
  std::unique_ptr<Policy> (*make)(const PolicyConfig&);
  const char* summary;
};

std::span<const PolicyEntry> policies();
// Throws Error: bad_request (unknown name: lists what exists; a target that is not positive).
std::unique_ptr<Policy> make_policy(std::string_view name, const PolicyConfig& config = {});

std::unique_ptr<Policy> make_fcfs_policy(const PolicyConfig& config);
std::unique_ptr<Policy> make_dynamic_policy(const PolicyConfig& config);

}  // namespace fastcache::engine
