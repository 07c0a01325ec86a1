// SPDX-License-Identifier: Apache-2.0
#include "engine/testing/plan_check.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace fastcache::engine::testing {
namespace {

using Ids = std::vector<RequestId>;

bool has(const Ids& ids, RequestId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

// Does a come before b? The rule in words: arrival, moved forward by ageing_ms for each step of priority.
template <typename A, typename B>
bool earlier(const A& a, const B& b, double ageing_ms) {
  if (std::isinf(ageing_ms)) {
    if (a.priority != b.priority) return a.priority > b.priority;
  } else {
    const double x = a.arrival_ms - a.priority * ageing_ms, y = b.arrival_ms - b.priority * ageing_ms;
    if (x != y) return x < y;
    if (a.priority != b.priority) return a.priority > b.priority;
  }
  return a.arrival_ms < b.arrival_ms;
}

struct Checked {
  const SchedulerInput& input;
  const Plan& plan;
  const SchedulerConfig& config;
  std::map<RequestId, int> tokens;  // in the batch

  bool gone(const RunningRequest& r) const {
    return has(plan.expire, r.id) || has(plan.preempt, r.id) || has(plan.exhausted, r.id);
  }
};

std::string check_batch(Checked& c) {
  int sum = 0, sequences = 0;
  for (const BatchItem& item : c.plan.batch) {
    if (item.n_tokens < 1 || !c.tokens.emplace(item.id, item.n_tokens).second)
      return "an item twice or empty";
    sum += item.n_tokens;
  }
  if (sum > c.input.token_budget) return "more rows than the token budget";
  size_t found = 0;
  for (const RunningRequest& r : c.input.running) {
    if (!c.gone(r)) sequences += r.n_forks;
    if (!c.tokens.count(r.id)) continue;
    ++found;
    if (c.gone(r)) return "a row of a request that left";
    if (r.stage == Stage::compress) return "a row of a request that waits for compression";
    if (c.tokens[r.id] > (r.stage == Stage::decode ? 1 : r.prompt_tokens_left)) return "too many tokens";
  }
  for (const WaitingRequest& w : c.input.waiting) {
    if (has(c.plan.admit, w.id)) sequences += w.n_forks;
    if (!c.tokens.count(w.id)) continue;
    ++found;
    if (!has(c.plan.admit, w.id)) return "a row of a request that was not admitted";
    if (c.tokens[w.id] > w.prompt_tokens) return "too many tokens of a prompt";
  }
  if (found != c.tokens.size()) return "a row of an unknown request";
  int running_before = 0;
  for (const RunningRequest& r : c.input.running) running_before += r.n_forks;
  if (sequences > std::max(c.input.max_running, running_before)) return "more sequences than max_running";
  if (!c.plan.admit.empty() && sequences > c.input.max_running) return "admitted beyond max_running";
  return {};
}

std::string check_pages(const Checked& c) {
  int64_t used = 0, returned = 0, evictable = c.input.pool.evictable;
  for (const RunningRequest& r : c.input.running) {
    if (c.tokens.count(r.id)) used += r.need.pages_for(c.tokens.at(r.id));
    if (has(c.plan.expire, r.id) || has(c.plan.preempt, r.id)) {
      returned += r.pages_exclusive;
    }
  }
  for (const WaitingRequest& w : c.input.waiting) {
    if (c.tokens.count(w.id)) used += w.need.pages_for(c.tokens.at(w.id));
    if (has(c.plan.admit, w.id)) evictable -= w.pages_pinned;
  }
  if (used > c.input.pool.available + c.plan.drop_pages + returned) return "more pages than there are";
  if (c.plan.drop_pages > std::max<int64_t>(0, evictable)) return "drops more than is evictable";
  if (c.plan.drop_pages > 0 && used < c.input.pool.available + c.plan.drop_pages + returned)
    return "drops more of the prefix cache than the step needs";
  return {};
}

std::string check_deadlines(const Checked& c) {
  size_t late = 0;
  const auto check = [&](const auto& request) {
    const bool is_late = request.deadline_ms <= c.input.now_ms;
    late += is_late;
    return is_late == has(c.plan.expire, request.id);
  };
  for (const WaitingRequest& w : c.input.waiting)
    if (!check(w) || (has(c.plan.expire, w.id) && has(c.plan.admit, w.id)))
      return "a deadline is not honoured";
  for (const RunningRequest& r : c.input.running)
    if (!check(r)) return "a deadline is not honoured";
  if (late != c.plan.expire.size()) return "somebody expired twice";
  for (const WaitingRequest& w : c.input.waiting)
    if (has(c.plan.refuse, w.id) && (has(c.plan.admit, w.id) || (w.pages_alone <= c.input.pool.total &&
                                                                 w.n_forks <= c.input.max_running)))
      return "refused, though it fits alone";
  return {};
}

// Who is admitted comes before all who stay; who arrives first in a class is first.
std::string check_admission(const Checked& c) {
  std::map<RequestId, const WaitingRequest*> by_id;
  for (const WaitingRequest& w : c.input.waiting) by_id[w.id] = &w;
  const WaitingRequest* last = nullptr;
  for (const RequestId id : c.plan.admit) {
    if (!by_id.count(id)) return "admits who does not wait";
    if (last != nullptr && earlier(*by_id[id], *last, c.config.ageing_ms)) return "admits in a wrong order";
    last = by_id[id];
  }
  if (last == nullptr) return {};
  for (const WaitingRequest& w : c.input.waiting)
    if (!has(c.plan.admit, w.id) && !has(c.plan.expire, w.id) && !has(c.plan.refuse, w.id) &&
        earlier(w, *last, c.config.ageing_ms))
      return "somebody passed a request that waits longer or is more important";
  return {};
}

std::string check_preemption(const Checked& c) {
  for (const RunningRequest& victim : c.input.running) {
    if (!has(c.plan.preempt, victim.id)) continue;
    if (has(c.plan.compress, victim.id)) return "preempts a request that it compresses";
    bool first = true;
    for (const WaitingRequest& w : c.input.waiting) first &= !has(c.plan.admit, w.id);
    for (const RunningRequest& r : c.input.running) {
      if (r.id == victim.id || has(c.plan.expire, r.id)) continue;
      if (earlier(r, victim, c.config.ageing_ms)) first = false;
      if (r.arrival_ms == victim.arrival_ms && r.priority == victim.priority && r.id < victim.id)
        first = false;
      const bool spared = !has(c.plan.preempt, r.id) && !has(c.plan.compress, r.id) && r.pages_held > 0;
      if (spared && r.priority <= victim.priority && earlier(victim, r, c.config.ageing_ms))
        return "spares a less important request";
    }
    if (first) return "preempts the first in rank";
  }
  return {};
}

std::string check_work(const Checked& c) {
  const int64_t had = c.input.pool.available + c.input.pool.evictable;
  int n_decode = 0, n_compress = 0, rows = 0, running = 0;
  for (const RunningRequest& r : c.input.running) {
    if (c.gone(r)) continue;
    ++running;
    n_compress += r.stage == Stage::compress;
    n_decode += r.stage == Stage::decode;
    rows += r.stage == Stage::decode && c.tokens.count(r.id);
  }
  if (static_cast<int>(c.plan.compress.size()) != std::min(n_compress, c.config.max_compress_per_step))
    return "a compression waits without need";
  const int cap =
      c.input.token_budget - static_cast<int>(std::ceil(c.config.prefill_share * c.input.token_budget));
  for (const RunningRequest& r : c.input.running) {
    if (c.gone(r) || r.stage != Stage::decode || c.tokens.count(r.id)) continue;
    const bool lacks_rows = rows >= std::max(1, std::min(cap, c.input.token_budget - 1));
    if (r.need.pages_for(1) == 0 && !lacks_rows) return "a decode row waits that needs nothing";
    if (r.need.pages_for(1) <= had && n_decode == 1 && running == 1) return "a lonely decode row waits";
  }
  size_t able = c.input.waiting.size() + c.input.running.size();
  able -= c.plan.expire.size() + c.plan.refuse.size() + c.plan.exhausted.size();
  const bool moves = !c.plan.batch.empty() || !c.plan.compress.empty() || !c.plan.preempt.empty();
  int64_t known = had;
  for (const RunningRequest& r : c.input.running) known += r.pages_held;
  const bool others_hold_pages = known < c.input.pool.total;
  if (able > 0 && !moves && !others_hold_pages && c.plan.exhausted.empty() && c.plan.expire.empty())
    return "nothing runs";
  return {};
}

}  // namespace

std::string broken_promise(const SchedulerInput& input, const Plan& plan, const SchedulerConfig& config) {
  Checked c{input, plan, config, {}};
  std::string broken = check_batch(c);
  for (auto* check : {check_pages, check_deadlines, check_admission, check_preemption, check_work})
    if (broken.empty()) broken = check(c);
  return broken;
}

}  // namespace fastcache::engine::testing
