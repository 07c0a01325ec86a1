// SPDX-License-Identifier: Apache-2.0
// Time, and plans being carried out. Pages: scheduler_simulator_pages.cc.
#include "engine/testing/scheduler_simulator.h"

#include <algorithm>
#include <stdexcept>

namespace fastcache::engine::testing {

SchedulerSimulator::SchedulerSimulator(const SimOptions& options, Scheduler& scheduler, uint64_t seed)
    : options_(options),
      scheduler_(scheduler),
      random_(seed),
      sequence_owners_(options.n_pages),
      cache_owners_(options.n_pages) {}

RequestId SchedulerSimulator::add(const SimJob& job) {
  SimSequence s;
  s.id = next_id_++;
  s.job = job;
  s.n_forks = job.n_forks;
  s.tokens_to_prefill = job.prompt_tokens;
  s.heads.resize(options_.n_heads);
  sequences_.push_back(s);
  return s.id;
}

SimSequence& SchedulerSimulator::find(RequestId id, SimState state) {
  for (SimSequence& s : sequences_)
    if (s.id == id && s.state == state) return s;
  throw std::logic_error("request " + std::to_string(id) + " is not where the plan believes it");
}

bool SchedulerSimulator::step(const OnPlan& on_plan) {
  for (SimSequence& s : sequences_)
    if ((s.state == SimState::waiting || s.state == SimState::running) && s.job.cancel_ms <= now_ms_)
      release(s, SimState::cancelled);
  std::vector<WaitingRequest> waiting;
  std::vector<RunningRequest> running;
  int64_t evictable = 0;
  for (const SimSequence& s : sequences_) {
    if (s.state == SimState::waiting && s.job.arrival_ms <= now_ms_) waiting.push_back(waiting_view(s));
    if (s.state == SimState::running) running.push_back(running_view(s));
  }
  for (int page = 0; page < options_.n_pages; ++page)
    evictable += sequence_owners_[page] == 0 && cache_owners_[page] > 0;
  if (waiting.empty() && running.empty()) return jump_to_next_event();

  std::shuffle(waiting.begin(), waiting.end(), random_);  // the order is no promise
  std::shuffle(running.begin(), running.end(), random_);
  const SchedulerInput input{.now_ms = now_ms_,
                             .pool = {options_.n_pages, free_pages(), evictable},
                             .token_budget = options_.token_budget,
                             .max_running = options_.max_running,
                             .waiting = waiting,
                             .running = running};
  const Plan plan = scheduler_.plan(input);
  if (on_plan) on_plan(input, plan);
  ++n_steps_;
  carry_out(plan);
  check_counts();
  return true;
}

bool SchedulerSimulator::jump_to_next_event() {
  double next = kNoDeadline;
  for (const SimSequence& s : sequences_)
    if (s.state == SimState::waiting) next = std::min({next, s.job.arrival_ms, s.job.cancel_ms});
  if (next == kNoDeadline) return false;
  now_ms_ = std::max(now_ms_, next);
  return true;
}

void SchedulerSimulator::carry_out(const Plan& plan) {
  for (const RequestId id : plan.refuse) release(find(id, SimState::waiting), SimState::refused);
  for (const RequestId id : plan.expire) {
    const auto has = [&](const SimSequence& s) { return s.id == id && s.state == SimState::waiting; };
    const bool waits = std::any_of(sequences_.begin(), sequences_.end(), has);
    release(find(id, waits ? SimState::waiting : SimState::running), SimState::expired);
  }
  for (const RequestId id : plan.exhausted) release(find(id, SimState::running), SimState::exhausted);
  for (const RequestId id : plan.preempt) {
    SimSequence& s = find(id, SimState::running);
    release(s, SimState::waiting);
    s.preempted = true;
    s.stage = Stage::prefill;
    s.tokens_to_prefill = s.job.prompt_tokens + s.generated;
  }
  for (const RequestId id : plan.admit) {
    SimSequence& s = find(id, SimState::waiting);
    s.state = SimState::running;
    s.steps_waited = 0;
    attach_prefix(s);
  }
  drop_pages(plan.drop_pages);

  const double ms = options_.duration_ms(plan.shape);
  for (SimSequence& s : sequences_) s.steps_waited += s.state == SimState::running;
  for (const BatchItem& item : plan.batch) {  // all rows first, then what follows from them
    SimSequence& s = find(item.id, SimState::running);
    s.steps_waited = 0;
    append(s, item.n_tokens);
  }
  now_ms_ += ms;
  for (const BatchItem& item : plan.batch) {
    SimSequence& s = find(item.id, SimState::running);
    if (s.stage == Stage::decode) {
      new_token(s);
    } else if ((s.tokens_to_prefill -= item.n_tokens) == 0) {
      finish_prefill(s);
    }
  }
  for (const RequestId id : plan.compress) {
    SimSequence& s = find(id, SimState::running);
    s.steps_waited = 0;
    compress(s);
    first_token(s);
  }
  if (!plan.batch.empty() || !plan.compress.empty()) scheduler_.observe(plan.shape, ms);
}

void SchedulerSimulator::first_token(SimSequence& s) {
  s.stage = Stage::decode;
  s.last_token_ms = now_ms_;
  std::vector<SimSequence> forks;
  for (int i = 1; i < s.n_forks; ++i) {
    SimSequence fork = s;
    fork.id = next_id_++;
    fork.n_forks = fork.job.n_forks = 1;
    for (const SimSequence::Head& head : fork.heads)
      for (const int page : head.pages) ++sequence_owners_[page];
    forks.push_back(fork);
  }
  s.n_forks = s.job.n_forks = 1;
  new_token(s);
  for (SimSequence& fork : forks) new_token(fork);
  sequences_.insert(sequences_.end(), forks.begin(), forks.end());
}

void SchedulerSimulator::new_token(SimSequence& s) {
  s.worst_gap_ms = std::max(s.worst_gap_ms, now_ms_ - s.last_token_ms);
  s.last_token_ms = now_ms_;
  if (++s.generated >= s.job.new_tokens) release(s, SimState::finished);
}

WaitingRequest SchedulerSimulator::waiting_view(const SimSequence& s) const {
  const CacheEntry* entry = nullptr;
  const int n = prefix_pages(s, &entry);
  WaitingRequest w{.id = s.id,
                   .priority = s.job.priority,
                   .arrival_ms = s.job.arrival_ms,
                   .deadline_ms = s.job.deadline_ms,
                   .prompt_tokens = s.tokens_to_prefill - n * options_.rows_per_page,
                   .kv_rows = n * options_.rows_per_page,
                   .need = empty_page_need(options_.n_heads, options_.rows_per_page)};
  for (int h = 0; h < options_.n_heads; ++h)
    for (int i = 0; i < n; ++i) w.pages_pinned += sequence_owners_[entry->pages[h][i]] == 0;
  const int most = s.job.prompt_tokens + s.job.max_new_tokens;
  w.pages_alone = options_.n_heads * int64_t{(most + options_.rows_per_page - 1) / options_.rows_per_page};
  w.n_forks = s.n_forks;
  w.preempted = s.preempted;
  return w;
}

RunningRequest SchedulerSimulator::running_view(const SimSequence& s) const {
  RunningRequest r{.id = s.id,
                   .priority = s.job.priority,
                   .arrival_ms = s.job.arrival_ms,
                   .deadline_ms = s.job.deadline_ms,
                   .stage = s.stage,
                   .prompt_tokens_left = s.tokens_to_prefill,
                   .n_forks = s.n_forks,
                   .steps_waited = s.steps_waited,
                   .need = need_of(s)};
  int rows = 0;
  for (const SimSequence::Head& head : s.heads) {
    rows += head.rows;
    for (const int page : head.pages) {
      ++r.pages_held;
      r.pages_exclusive += sequence_owners_[page] == 1 && cache_owners_[page] == 0;
    }
  }
  r.kv_rows = rows / options_.n_heads;
  return r;
}

}  // namespace fastcache::engine::testing
