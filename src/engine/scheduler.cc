// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>

#include "base/error.h"
#include "engine/planning.h"

namespace fastcache::engine {
namespace {

void write_batch(Planning& p) {
  int64_t used = 0;
  for (const Stage stage : {Stage::decode, Stage::prefill})
    for (const Runner& r : p.runners) {
      if (!r.runs(stage) || r.n_tokens == 0) continue;
      used += r.need->pages_for(r.n_tokens);
      p.plan.batch.push_back({r.id, r.n_tokens});
      p.plan.shape = p.plan.shape + (stage == Stage::decode ? decode_shape(r.kv_rows)
                                                            : prefill_shape(r.n_tokens, r.kv_rows));
    }
  p.plan.drop_pages = std::max<int64_t>(0, used - p.input.pool.available - p.returned_pages);
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, std::unique_ptr<Policy> policy)
    : config_(config), policy_(std::move(policy)) {
  const auto require = [](bool good, const char* what, double value, const char* right) {
    if (!good) throw Error{Code::bad_request, fmt::format("{} {} must be {}", what, value, right)};
  };
  if (!policy_) throw Error{Code::bad_request, "the scheduler needs a policy, see make_policy"};
  require(config.ageing_ms >= 0, "ageing_ms", config.ageing_ms, "at least 0");
  require(config.lookahead_tokens >= 0, "lookahead_tokens", config.lookahead_tokens, "at least 0");
  require(config.prefill_share >= 0 && config.prefill_share < 1, "prefill_share", config.prefill_share,
          "in [0, 1)");
  require(config.max_compress_per_step >= 1, "max_compress_per_step", config.max_compress_per_step,
          "at least 1");
}

Plan Scheduler::plan(const SchedulerInput& input) const {
  assert(input.token_budget >= 2 && input.max_running >= 1);
  Planning p{.config = config_, .input = input, .runners = {}, .queue = {}, .plan = {}};
  sort_out(p);
  choose_compressions(p);
  admit(p);
  const int decode_limit = decode_row_limit(p);
  share_tokens(p, *policy_, decode_limit);
  grant_pages(p);
  take_turns(p, decode_limit);
  write_batch(p);
  return std::move(p.plan);
}

}  // namespace fastcache::engine
