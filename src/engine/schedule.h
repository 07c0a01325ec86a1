// SPDX-License-Identifier: Apache-2.0
// What the scheduler is told before a step and what it answers: values only. Times are milliseconds of one
// clock, virtual or real; pages are pages of the pool.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "engine/cost_model.h"
#include "engine/page_need.h"

namespace fastcache::engine {

using RequestId = uint64_t;

inline constexpr double kNoDeadline = std::numeric_limits<double>::infinity();

enum class Stage : uint8_t { prefill, compress, decode };

struct PoolPages {
  int64_t total = 0;
  int64_t available = 0;  // free now
  int64_t evictable = 0;  // owned by the prefix cache alone: can be dropped at once
};

struct WaitingRequest {
  RequestId id = 0;
  int priority = 0;  // higher first
  double arrival_ms = 0;
  double deadline_ms = kNoDeadline;
  int prompt_tokens = 1;     // to prefill behind the cached prefix, at least 1; replays: generated ones too
  int kv_rows = 0;           // rows per head that the cached prefix brings
  PageNeed need{};           // with the cached prefix attached
  int64_t pages_pinned = 0;  // evictable pages that attaching the prefix makes unevictable
  int64_t pages_alone = 0;   // the most that it may ever hold at once, alone in an empty pool
  // Where compression during decoding bounds it: what its answers may take, pages_pinned aside; else -1.
  int64_t pages_to_come = -1;
  int n_forks = 1;         // answers that share the prompt
  bool preempted = false;  // ran before
};

// An answer of several is a request of its own once it decodes (same priority and arrival).
struct RunningRequest {
  RequestId id = 0;
  int priority = 0;
  double arrival_ms = 0;
  double deadline_ms = kNoDeadline;
  Stage stage = Stage::prefill;
  int prompt_tokens_left = 0;  // prefill: at least 1
  int n_forks = 1;             // answers that it will become; 1 in decode
  int steps_waited = 0;        // steps since it was last in a batch
  int kv_rows = 0;             // mean of rows held per (layer, KV head)
  PageNeed need{};
  int64_t pages_held = 0;
  int64_t pages_to_come = -1;  // the most that it may still take, where compression bounds that; else -1
  // Of pages_held: free when it lets go. What it shares with the prefix cache alone is not counted: it
  // becomes evictable only for the next step, because a prompt admitted in this one may attach it.
  int64_t pages_exclusive = 0;
};

struct SchedulerInput {
  double now_ms = 0;
  PoolPages pool;
  int token_budget = 512;  // rows in one step, at least 2
  int max_running = 64;    // sequences: decode rows, and the answers that a prompt will have
  std::span<const WaitingRequest> waiting{};  // any order
  std::span<const RunningRequest> running{};  // any order
};

struct BatchItem {
  RequestId id = 0;
  int n_tokens = 0;  // 1 in decode
};

// To be executed in the order of the members. Then the pages of the batch are there: their sum is at most
// available + drop_pages + the exclusive pages of the expired and preempted. (Where two items share a tail
// the sum is an upper bound: the second finds the tail its own.)
struct Plan {
  std::vector<RequestId> refuse;     // waiting: more than the pool, max_running or the budget can ever hold
  std::vector<RequestId> expire;     // waiting or running: the deadline has passed
  std::vector<RequestId> exhausted;  // running alone and full: no page will ever come; ends as it is
  std::vector<RequestId> preempt;    // running -> waiting, with their first arrival; pages go back
  std::vector<RequestId> admit;      // waiting -> running, in this order; attach the cached prefix now
  int64_t drop_pages = 0;            // evictable pages that the prefix cache must give up
  std::vector<BatchItem> batch;      // decode rows, then prefill chunks, each by rank
  std::vector<RequestId> compress;   // in this step; none of them is in the batch
  StepShape shape{};                 // of batch and compress: what observe() wants with the duration
};

}  // namespace fastcache::engine
