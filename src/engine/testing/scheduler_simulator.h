// SPDX-License-Identifier: Apache-2.0
// Test support: an engine without a model, in virtual time. It carries plans out to the letter on a pool of
// counted pages in plain loops, and throws std::logic_error where a plan cannot be carried out: a page that
// is not there, a request that is not where the plan believes it. Sequences have heads with pages of their
// own, share prefixes through a cache, fork, and are compressed to another length in each head.
#pragma once

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "engine/scheduler.h"

namespace fastcache::engine::testing {

struct SimOptions {
  int n_heads = 2;  // (layer, KV head) pairs
  int rows_per_page = 4;
  int n_pages = 64;
  int token_budget = 16;
  int max_running = 8;
  // A step's real duration.
  std::function<double(const StepShape&)> duration_ms = [](const StepShape& s) {
    return 1 + 0.2 * s.prefill_tokens + 0.1 * s.decode_rows + 0.001 * s.kv_rows_read;
  };
};

struct SimJob {  // what a client asks for, and what will become of it
  int priority = 0;
  double arrival_ms = 0;
  double deadline_ms = kNoDeadline;
  double cancel_ms = kNoDeadline;
  int prompt_tokens = 1;
  int max_new_tokens = 1;
  int new_tokens = 1;  // when the model stops; at most max_new_tokens
  int n_forks = 1;
  bool compress = false;
  int prefix_group = -1;  // jobs of one group have equal prompts, as far as both go
};

enum class SimState { waiting, running, finished, cancelled, expired, refused, exhausted };

struct SimSequence {
  struct Head {
    std::vector<int> pages;
    int rows = 0;
    int tail_rows = 0;  // in the last page
  };
  RequestId id = 0;
  SimJob job;
  SimState state = SimState::waiting;
  Stage stage = Stage::prefill;
  bool preempted = false;
  int n_forks = 1;
  int tokens_to_prefill = 0;
  int generated = 0;
  int steps_waited = 0;
  double end_ms = 0;
  double worst_gap_ms = 0;  // between two tokens while decoding
  double last_token_ms = 0;
  std::vector<Head> heads;
};

class SchedulerSimulator {
 public:
  SchedulerSimulator(const SimOptions& options, Scheduler& scheduler, uint64_t seed);

  RequestId add(const SimJob& job);
  // on_plan sees each plan before it is carried out.
  using OnPlan = std::function<void(const SchedulerInput&, const Plan&)>;
  // One step, or a jump to the next event where there is nothing to do. False: all have ended.
  bool step(const OnPlan& on_plan = {});
  int n_steps() const { return n_steps_; }
  double now_ms() const { return now_ms_; }
  const std::vector<SimSequence>& sequences() const { return sequences_; }  // forks too
  void drop_cache();
  int free_pages() const;
  // Throws unless each page is owned exactly as often as counted.
  void check_counts() const;

 private:
  struct CacheEntry {
    int group = 0;
    std::vector<std::vector<int>> pages;  // [head][full pages]
  };

  SimSequence& find(RequestId id, SimState state);
  int take_page();
  bool is_free(int page) const { return sequence_owners_[page] == 0 && cache_owners_[page] == 0; }
  void release(SimSequence& s, SimState state);
  void append(SimSequence& s, int n_tokens);
  void finish_prefill(SimSequence& s);
  void first_token(SimSequence& s);
  void new_token(SimSequence& s);
  void compress(SimSequence& s);
  void attach_prefix(SimSequence& s);
  void drop_pages(int64_t n);
  int prefix_pages(const SimSequence& s, const CacheEntry** entry) const;  // per head
  WaitingRequest waiting_view(const SimSequence& s) const;
  RunningRequest running_view(const SimSequence& s) const;
  PageNeed need_of(const SimSequence& s) const;
  void carry_out(const Plan& plan);
  bool jump_to_next_event();

  SimOptions options_;
  Scheduler& scheduler_;
  std::mt19937_64 random_;
  double now_ms_ = 0;
  int n_steps_ = 0;
  RequestId next_id_ = 1;
  std::vector<SimSequence> sequences_;
  std::vector<int> sequence_owners_;  // [n_pages]
  std::vector<int> cache_owners_;     // [n_pages]
  std::vector<CacheEntry> cache_;     // least recently used first
};

}  // namespace fastcache::engine::testing
