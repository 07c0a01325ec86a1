// SPDX-License-Identifier: Apache-2.0
// Inside of the Scheduler: one step while it is being planned. Each function decides one thing, in the order
// of scheduler.cc. Nobody else includes this.
#pragma once

#include <vector>

#include "engine/scheduler.h"

namespace fastcache::engine {

// Smaller first; total, because ids are unique.
struct Rank {
  double key = 0;  // arrival_ms - priority * ageing_ms; without ageing 0
  int priority = 0;
  double arrival_ms = 0;
  bool fresh = false;  // never ran
  RequestId id = 0;
};
Rank rank_of(const WaitingRequest& request, double ageing_ms);
Rank rank_of(const RunningRequest& request, double ageing_ms);
bool before(const Rank& a, const Rank& b);

// A request that runs in this step unless it is preempted: running before, or admitted now.
struct Runner {
  Rank rank;
  RequestId id = 0;
  int priority = 0;
  Stage stage = Stage::prefill;
  int tokens_left = 0;  // prefill
  int n_forks = 1;
  int steps_waited = 0;
  int kv_rows = 0;
  const PageNeed* need = nullptr;  // in the input
  int64_t pages_held = 0;
  int64_t pages_to_come = -1;
  int64_t pages_exclusive = 0;

  bool admitted = false;     // in this step
  bool compressing = false;  // in this step
  bool preempted = false;    // in this step
  int n_tokens = 0;          // in the batch

  bool runs(Stage s) const { return !preempted && stage == s; }
  bool can_yield_pages() const { return !preempted && !admitted && !compressing && pages_held > 0; }
};

struct Planning {
  const SchedulerConfig& config;
  const SchedulerInput& input;
  std::vector<Runner> runners;               // by rank
  std::vector<const WaitingRequest*> queue;  // by rank
  int64_t free_pages = 0;                    // this step may use: available, evictable, given back
  int64_t returned_pages = 0;                // of them: free because of expiry and preemption
  Plan plan;
};

void sort_out(Planning& p);  // refuse, expire, rank
void choose_compressions(Planning& p);
void admit(Planning& p);
int decode_row_limit(const Planning& p);
void share_tokens(Planning& p, const Policy& policy, int decode_limit);  // wishes, before pages
void grant_pages(Planning& p);                   // shrinks wishes to what there are pages for; preempts
void take_turns(Planning& p, int decode_limit);  // keeps so many decode rows
void preempt(Planning& p, Runner& victim);

}  // namespace fastcache::engine
