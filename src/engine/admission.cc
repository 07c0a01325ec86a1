// SPDX-License-Identifier: Apache-2.0
// Which waiting requests start in this step.
#include <algorithm>

#include "engine/planning.h"

namespace fastcache::engine {
namespace {

// What a runner will still take for its prompt, and for the next tokens of every answer; all that it may ever
// take where that is known: such answers never need another's pages.
int64_t pages_promised(const Runner& r, int lookahead_tokens) {
  const int64_t known = std::max<int64_t>(0, r.pages_to_come);
  if (r.stage == Stage::compress) return known;  // gives back more than its next tokens take
  if (r.stage == Stage::decode) return r.pages_to_come >= 0 ? known : r.need->pages_for(1 + lookahead_tokens);
  return std::max(known, pages_with_forks(*r.need, r.tokens_left, r.n_forks, lookahead_tokens));
}

// What is left for newcomers, as runners go and come.
struct Room {
  int64_t pages = 0;  // beyond all promises; may be negative
  int sequences = 0;
  int n_runners = 0;

  void give_back(const Runner& r, int lookahead_tokens) {
    pages += r.pages_exclusive + pages_promised(r, lookahead_tokens);
    sequences += r.n_forks;
    --n_runners;
  }
};

// The pages that admission must find: alone in the pool a request needs no room beside its prompt.
int64_t pages_asked(const WaitingRequest& w, bool alone, int lookahead_tokens) {
  const int64_t prompt =
      alone
          ? w.need.pages_for(w.prompt_tokens)
          : std::max(w.pages_to_come, pages_with_forks(w.need, w.prompt_tokens, w.n_forks, lookahead_tokens));
  return w.pages_pinned + prompt;
}

bool fits(const WaitingRequest& w, const Room& room, int lookahead_tokens) {
  return w.n_forks <= room.sequences && pages_asked(w, room.n_runners == 0, lookahead_tokens) <= room.pages;
}

// Displaces runners of smaller priority that come after it in rank too, last first; all or nothing. Equal
// priorities never displace each other: they would only replay each other's prompts.
bool make_room(Planning& p, const WaitingRequest& w, Room& room) {
  if (!p.config.preempt_for_priority) return false;
  const Rank rank = rank_of(w, p.config.ageing_ms);
  Room found = room;
  std::vector<Runner*> victims;
  for (auto r = p.runners.rbegin(); r != p.runners.rend() && !fits(w, found, p.config.lookahead_tokens);
       ++r) {
    if (r->priority >= w.priority || !before(rank, r->rank) || !r->can_yield_pages()) continue;
    found.give_back(*r, p.config.lookahead_tokens);
    victims.push_back(&*r);
  }
  if (!fits(w, found, p.config.lookahead_tokens)) return false;
  for (Runner* victim : victims) preempt(p, *victim);
  room = found;
  return true;
}

// Prompts before w that fill the step already: then w can wait where it costs nothing, and may meanwhile find
// more of its prefix cached.
bool step_is_full(const Planning& p, const WaitingRequest& w) {
  const Rank rank = rank_of(w, p.config.ageing_ms);
  int64_t tokens = 0;
  for (const Runner& r : p.runners)
    if (r.runs(Stage::prefill) && before(r.rank, rank)) tokens += r.tokens_left;
  return tokens >= p.input.token_budget;
}

Runner start(const WaitingRequest& w, double ageing_ms) {
  return {.rank = rank_of(w, ageing_ms),
          .id = w.id,
          .priority = w.priority,
          .tokens_left = w.prompt_tokens,
          .n_forks = w.n_forks,
          .kv_rows = w.kv_rows,
          .need = &w.need,
          .pages_to_come = w.pages_to_come,
          .admitted = true};
}

}  // namespace

void admit(Planning& p) {
  const int lookahead = p.config.lookahead_tokens;
  Room room{.pages = p.free_pages, .sequences = p.input.max_running};
  for (const Runner& r : p.runners) {
    room.pages -= pages_promised(r, lookahead);
    room.sequences -= r.n_forks;
    ++room.n_runners;
  }
  for (const WaitingRequest* w : p.queue) {
    if (step_is_full(p, *w) || (!fits(*w, room, lookahead) && !make_room(p, *w, room))) return;
    Runner runner = start(*w, p.config.ageing_ms);
    room.pages -= w->pages_pinned + pages_promised(runner, lookahead);
    room.sequences -= w->n_forks;
    ++room.n_runners;
    p.free_pages -= w->pages_pinned;
    p.plan.admit.push_back(w->id);
    const auto place = std::find_if(p.runners.begin(), p.runners.end(),
                                    [&](const Runner& r) { return before(runner.rank, r.rank); });
    p.runners.insert(place, runner);
  }
}

}  // namespace fastcache::engine
