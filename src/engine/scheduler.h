// SPDX-License-Identifier: Apache-2.0
// Decides what happens in the next step of the engine. Pure: no clock, no pool, no thread, no model; values
// in, a plan out. Owner: the engine thread.
//
// Rank. One priority step is worth ageing_ms of arrival: the rank is arrival_ms - priority * ageing_ms,
// smaller first; within a class that is order of arrival. It never changes while a request lives, waiting,
// running or preempted. So only finitely many requests can ever come before a given one: nobody starves, and
// preempted requests come back before all that arrived later.
//
// Pages are given in order of rank: first evictable ones, then those of the last in rank are preempted. The
// first in rank is never preempted; it always gets on, so everything ends. A request that lacks pages though
// all behind it gave theirs up keeps what it holds and waits: cheaper than a replay.
//
// Admission is strictly by rank (nothing passes a head that waits for pages: that would starve large
// requests) and by pages: besides the whole prompt there must be room for the next lookahead_tokens of every
// sequence, so that an admission does not lead to a preemption some tokens later. A request that would be
// alone needs no room beside its prompt.
//
// Rows: decode rows first, but prompts in progress keep prefill_share of the token budget; decode rows beyond
// the rest take turns.
#pragma once

#include <memory>

#include "engine/policy.h"
#include "engine/schedule.h"

namespace fastcache::engine {

struct SchedulerConfig {
  double ageing_ms = 10'000;         // infinity: priorities are strict
  int lookahead_tokens = 16;         // 0: admission leaves no room for running sequences
  double prefill_share = 0.125;      // of the token budget, [0, 1)
  int max_compress_per_step = 1;     // at least 1
  bool preempt_for_priority = true;  // an arrival may displace running requests of smaller priority
};

class Scheduler {
 public:
  // Throws Error: bad_request (a number out of its range; no policy).
  Scheduler(const SchedulerConfig& config, std::unique_ptr<Policy> policy);

  // Same input, same plan, unless observe() came between. Ids are unique over waiting and running.
  Plan plan(const SchedulerInput& input) const;
  // The duration of a step that was executed, for Plan::shape.
  void observe(const StepShape& shape, double duration_ms) { policy_->observe(shape, duration_ms); }

  const SchedulerConfig& config() const { return config_; }
  const Policy& policy() const { return *policy_; }

 private:
  SchedulerConfig config_;
  std::unique_ptr<Policy> policy_;
};

}  // namespace fastcache::engine
