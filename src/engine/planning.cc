// SPDX-License-Identifier: Apache-2.0
// Who is there, and which tokens and pages each gets. Admission: admission.cc.
#include "engine/planning.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <tuple>

namespace fastcache::engine {
namespace {

double rank_key(int priority, double arrival_ms, double ageing_ms) {
  return std::isinf(ageing_ms) ? 0 : arrival_ms - priority * ageing_ms;
}

Runner runner_of(const RunningRequest& r, double ageing_ms) {
  return {.rank = rank_of(r, ageing_ms),
          .id = r.id,
          .priority = r.priority,
          .stage = r.stage,
          .tokens_left = r.prompt_tokens_left,
          .n_forks = r.n_forks,
          .steps_waited = r.steps_waited,
          .kv_rows = r.kv_rows,
          .need = &r.need,
          .pages_held = r.pages_held,
          .pages_to_come = r.pages_to_come,
          .pages_exclusive = r.pages_exclusive};
}

bool can_ever_run(const WaitingRequest& w, const SchedulerInput& input) {
  return w.pages_alone <= input.pool.total && w.n_forks <= input.max_running;
}

// Preempts from the back of the rank until `pages` are free. Where that cannot be, nobody is preempted in
// vain; except for the first in rank: pages that several victims share count for none of them, but are free
// when the last of them is gone.
void make_free(Planning& p, size_t index, int64_t pages) {
  int64_t possible = p.free_pages;
  for (size_t i = index + 1; i < p.runners.size(); ++i)
    if (p.runners[i].can_yield_pages()) possible += p.runners[i].pages_exclusive;
  const bool first = std::none_of(p.runners.begin(), p.runners.begin() + index,
                                  [](const Runner& r) { return !r.preempted; });
  if (possible < pages && !first) return;
  for (size_t i = p.runners.size() - 1; i > index && p.free_pages < pages; --i)
    if (p.runners[i].can_yield_pages()) preempt(p, p.runners[i]);
}

// Nobody else holds a page that could come back, and what it holds leaves no room for one token more.
bool is_exhausted(const Planning& p, const Runner& runner) {
  if (!p.plan.preempt.empty() || !p.plan.expire.empty()) return false;
  for (const Runner& r : p.runners)
    if (r.id != runner.id && r.pages_held > 0) return false;
  return runner.pages_held + runner.need->pages_for(1) > p.input.pool.total;
}

}  // namespace

Rank rank_of(const WaitingRequest& r, double ageing_ms) {
  return {rank_key(r.priority, r.arrival_ms, ageing_ms), r.priority, r.arrival_ms, !r.preempted, r.id};
}

Rank rank_of(const RunningRequest& r, double ageing_ms) {
  return {rank_key(r.priority, r.arrival_ms, ageing_ms), r.priority, r.arrival_ms, false, r.id};
}

bool before(const Rank& a, const Rank& b) {
  return std::tuple(a.key, -a.priority, a.arrival_ms, a.fresh, a.id) <
         std::tuple(b.key, -b.priority, b.arrival_ms, b.fresh, b.id);
}

void sort_out(Planning& p) {
  const double ageing_ms = p.config.ageing_ms;
  p.free_pages = p.input.pool.available + p.input.pool.evictable;
  for (const WaitingRequest& w : p.input.waiting) {
    assert(w.prompt_tokens >= 1 && w.n_forks >= 1);
    if (w.deadline_ms <= p.input.now_ms)
      p.plan.expire.push_back(w.id);
    else if (!can_ever_run(w, p.input))
      p.plan.refuse.push_back(w.id);
    else
      p.queue.push_back(&w);
  }
  for (const RunningRequest& r : p.input.running) {
    assert(r.stage != Stage::prefill || r.prompt_tokens_left >= 1);
    if (r.deadline_ms > p.input.now_ms) {
      p.runners.push_back(runner_of(r, ageing_ms));
      continue;
    }
    p.plan.expire.push_back(r.id);
    p.returned_pages += r.pages_exclusive;
    p.free_pages += r.pages_exclusive;
  }
  std::sort(p.runners.begin(), p.runners.end(),
            [](const Runner& a, const Runner& b) { return before(a.rank, b.rank); });
  std::sort(p.queue.begin(), p.queue.end(), [&](const WaitingRequest* a, const WaitingRequest* b) {
    return before(rank_of(*a, ageing_ms), rank_of(*b, ageing_ms));
  });
}

// Compression gives pages back: it never waits for any.
void choose_compressions(Planning& p) {
  for (Runner& r : p.runners) {
    if (static_cast<int>(p.plan.compress.size()) == p.config.max_compress_per_step) return;
    if (!r.runs(Stage::compress)) continue;
    r.compressing = true;
    p.plan.compress.push_back(r.id);
    p.plan.shape.compress_rows += r.kv_rows;
  }
}

// Prompts in progress keep their share of the rows.
int decode_row_limit(const Planning& p) {
  int64_t tokens_left = 0;
  for (const Runner& r : p.runners)
    if (r.runs(Stage::prefill)) tokens_left += r.tokens_left;
  const int budget = p.input.token_budget;
  const int share = std::max(1, static_cast<int>(std::ceil(p.config.prefill_share * budget)));
  return std::max(1, budget - static_cast<int>(std::min<int64_t>(tokens_left, share)));
}

void share_tokens(Planning& p, const Policy& policy, int decode_limit) {
  PolicyStep step{.token_budget = p.input.token_budget, .decided = p.plan.shape, .prefills = {}};
  std::vector<Runner*> prompts;
  std::vector<PrefillView> views;
  int n_decode = 0;
  for (Runner& r : p.runners) {
    if (r.runs(Stage::prefill)) {
      prompts.push_back(&r);
      views.push_back({r.tokens_left, r.kv_rows});
    } else if (r.runs(Stage::decode)) {
      r.n_tokens = 1;
      if (++n_decode <= decode_limit) step.decided = step.decided + decode_shape(r.kv_rows);
    }
  }
  if (prompts.empty()) return;
  step.token_budget -= std::min(n_decode, decode_limit);
  step.prefills = views;
  std::vector<int> tokens(prompts.size());
  policy.share_prefill(step, tokens);
  for (size_t i = 0; i < prompts.size(); ++i) {
    assert(tokens[i] >= 0 && tokens[i] <= prompts[i]->tokens_left);
    prompts[i]->n_tokens = tokens[i];
  }
}

void grant_pages(Planning& p) {
  for (size_t i = 0; i < p.runners.size(); ++i) {
    Runner& r = p.runners[i];
    if (r.preempted || r.n_tokens == 0) continue;
    if (r.need->pages_for(1) > p.free_pages) make_free(p, i, r.need->pages_for(1));
    r.n_tokens = r.need->tokens_within(r.n_tokens, p.free_pages);
    p.free_pages -= r.need->pages_for(r.n_tokens);
    if (r.n_tokens > 0) continue;
    if (is_exhausted(p, r)) p.plan.exhausted.push_back(r.id);
    p.free_pages = 0;  // nobody behind it takes what it waits for; rows in pages already held go on
  }
}

// Only rows that have their pages take turns: one that lacks pages waits longest and would take the others'.
void take_turns(Planning& p, int decode_limit) {
  std::vector<Runner*> rows;
  for (Runner& r : p.runners)
    if (r.runs(Stage::decode) && r.n_tokens > 0) rows.push_back(&r);
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Runner* a, const Runner* b) { return a->steps_waited > b->steps_waited; });
  for (size_t i = decode_limit; i < rows.size(); ++i) rows[i]->n_tokens = 0;
}

void preempt(Planning& p, Runner& victim) {
  victim.preempted = true;
  victim.n_tokens = 0;
  p.returned_pages += victim.pages_exclusive;
  p.free_pages += victim.pages_exclusive;
  p.plan.preempt.push_back(victim.id);
}

}  // namespace fastcache::engine
