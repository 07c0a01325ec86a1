// SPDX-License-Identifier: Apache-2.0
#include "engine/step_loop.h"

#include <algorithm>

#include "base/log.h"
#include "press/compress.h"
#include "press/registry.h"

namespace fastcache::engine {

StepLoop::StepLoop(const model::LoadedModel& model, ComputePool& compute, kv::PagePool& pool,
                   kv::KvType kv_type, const StepLoopOptions& options, std::function<double()> now_ms)
    : model_(model),
      compute_(compute),
      pool_(pool),
      options_(options),
      now_ms_(std::move(now_ms)),
      shape_(model::cache_shape(model.hparams, kv_type)),
      output_weights_(model.family->output_weights()),
      runner_(model.hparams, *model.family, pool_, compute, options.lora),
      cache_(pool_, shape_),
      scheduler_(options.scheduler, make_policy(options.policy, {.itl_target_ms = options.itl_target_ms})) {
  if (options.step_tokens < 2 || options.max_running < 1) {
    throw Error{Code::bad_request,
                fmt::format("step_tokens is {} and max_running is {}; they must be at least 2 and 1",
                            options.step_tokens, options.max_running)};
  }
}

// Whoever has a picture, anywhere, is computed with the adapter from its first token to its last: its rows
// are others than those of the same tokens without one.
void StepLoop::choose_adapter(RequestState& request) const {
  if (options_.lora == nullptr || !request.has_pictures()) return;
  request.adapted = true;
  request.plain_rows.adapter = request.compressed_rows.adapter = to_hex(options_.lora->digest());
}

void StepLoop::add(std::unique_ptr<RequestState> request) {
  choose_adapter(*request);
  request->answers_left = request->n;
  request->number = next_number_++;
  Sampler sampler = std::move(*request->sampler);
  request->sampler.reset();
  auto answer = make_answer_state(std::move(request), 0, std::move(sampler));
  answer->id = next_id_++;
  const RequestId id = answer->id;
  AnswerState& added = *answers_.emplace(id, std::move(answer)).first->second;
  if (added.request->error != nullptr) fail(*added.request, added.request->error);
}

void StepLoop::end_cancelled() {
  std::vector<AnswerState*> cancelled;
  for (const auto& [id, answer] : answers_) {
    if (answer->request->channel->cancelled()) cancelled.push_back(answer.get());
  }
  for (AnswerState* answer : cancelled) end_now(*answer, Finish::cancelled);
}

void StepLoop::cancel_all() {
  for (const auto& [id, answer] : answers_) answer->request->channel->cancel();
  end_cancelled();
  retired_.clear();
}

void StepLoop::preempt(AnswerState& answer) {
  leave_second_pass(answer);
  answer.sequence.release();
  answer.waiting = true;
  answer.preempted = true;
  answer.stage = Stage::prefill;
  answer.n_compressions = 0;
  answer.heads_to_compress.clear();
  answer.record.reset();
  answer.bytes_freed = 0;
  answer.from_compressed_prefix = false;
  ++answer.request->summary.preemptions;
  ++totals_.preemptions;
}

// Rows that a press keeps move to new pages where others own the old ones too. In a full pool there are none:
// the cache goes first, then the youngest answer. Alone, a sequence shares nothing and is compacted in place.
bool StepLoop::make_room_for_compression(const AnswerState& answer, size_t n_pages) {
  if (cache_.evict(n_pages) > 0) return true;
  const size_t n_blocks = cache_.statistics().blocks;
  cache_.clear(answer.request->plain_rows);
  if (cache_.statistics().blocks < n_blocks) return true;
  for (auto at = answers_.rbegin(); at != answers_.rend(); ++at) {
    AnswerState& other = *at->second;
    if (&other == &answer || other.waiting || other.sequence.token_count() == 0) continue;
    preempt(other);
    return true;
  }
  return false;
}

// False: not all of it could be done; the rest waits for the next step.
bool StepLoop::run_press(AnswerState& answer) {
  RequestState& request = *answer.request;
  const auto press = press::make_press(request.press);
  const press::CompressJob job{.press = press.get(),
                               .budget = request.press.how_much(),
                               .pool = &pool_,
                               .sequence = &answer.sequence,
                               .new_rows_only = answer.from_compressed_prefix && request.press_interval == 0,
                               .record = answer.record.get(),
                               .local = runner_.attention().local,
                               .output_weights = output_weights_};
  std::vector<press::PlannedHead>& left = answer.heads_to_compress;
  if (left.empty()) left = press::plan_compression(job, compute_);
  Summary& summary = request.summary;
  // What the prefix cache keeps of the rows counts as freed: it gives them up when they are needed.
  const auto usable_bytes = [&] {
    const kv::PoolUsage usage = pool_.usage();
    return static_cast<int64_t>(usage.free + usage.prefix_cached);
  };
  do {
    const int64_t usable_before = usable_bytes();
    press::CompressResult result = press::commit_compression(job, std::move(left));
    left = std::move(result.uncommitted);
    answer.bytes_freed += usable_bytes() - usable_before;
    if (answer.compressed()) continue;  // the summary's rows are the prompt's
    if (summary.rows_before_compression == 0)
      summary.rows_before_compression = static_cast<size_t>(result.rows_before);
    summary.rows_after_compression = static_cast<size_t>(result.rows_after);
  } while (!left.empty() && make_room_for_compression(
                                answer, left.front().rows.size() / static_cast<size_t>(shape_.rows()) + 1));
  if (!left.empty()) return false;
  if (answer.n_compressions == answer.n_reported) {  // else it was reported before a preemption
    summary.freed_bytes += static_cast<size_t>(std::max<int64_t>(answer.bytes_freed, 0));
    ++summary.compressions;
    ++answer.n_reported;
  }
  answer.bytes_freed = 0;
  return true;
}

void StepLoop::compress(AnswerState& answer) {
  if (answer.waiting) return;  // gave its pages to another compression of this step
  const double start_ms = now_ms();
  bool done = false;
  try {
    done = run_press(answer);
  } catch (const Error&) {
    return fail(*answer.request, std::current_exception());
  }
  answer.request->summary.compress_ms += now_ms() - start_ms;
  answer.steps_waited = 0;
  if (!done) return;
  ++answer.n_compressions;
  answer.record.reset();
  start_siblings(answer);
  answer.stage = answer.tokens_left() > 1 ? Stage::prefill : Stage::decode;
  if (answer.ended) retire(answer);
}

// More than the pool holds. What ran before was cut short by others, not by its own size alone: it ends as it
// is.
void StepLoop::refuse(AnswerState& answer) {
  if (answer.n_generated() > 0) return end_now(answer, Finish::length);
  const RequestState& request = *answer.request;
  std::string what =
      fmt::format("{} prompt tokens for {} answers do not fit into", answer.tokens.size(), answer.n_forks());
  if (request.press_bounds_rows)
    what += fmt::format(", or the {} rows per head between two compressions of '{}' are too many for,",
                        rows_at_most(answer), request.press.name);
  fail(*answer.request, std::make_exception_ptr(Error{
                            Code::pool_too_small, fmt::format("{} the KV pool of {} bytes, even alone", what,
                                                              pool_.n_pages() * pool_.page_bytes())}));
}

void StepLoop::step() {
  end_cancelled();
  for (const auto& [id, answer] : answers_) ++answer->steps_waited;
  const Plan plan = make_plan();
  const double start_ms = now_ms();
  // An answer may end with another one of its request, before its turn comes.
  const auto each = [&](const std::vector<RequestId>& ids, const auto& what) {
    for (RequestId id : ids) {
      if (const auto at = answers_.find(id); at != answers_.end()) what(*at->second);
    }
  };
  each(plan.refuse, [&](AnswerState& answer) { refuse(answer); });
  each(plan.expire, [&](AnswerState& answer) { end_now(answer, Finish::deadline); });
  each(plan.exhausted, [&](AnswerState& answer) { end_now(answer, Finish::length); });
  each(plan.preempt, [&](AnswerState& answer) { preempt(answer); });
  each(plan.admit, [&](AnswerState& answer) { admit(answer); });
  if (plan.drop_pages > 0) cache_.evict(static_cast<size_t>(plan.drop_pages));
  const bool complete = run_batch(plan.batch);
  each(plan.compress, [&](AnswerState& answer) { compress(answer); });
  if (complete && (!plan.batch.empty() || !plan.compress.empty()))
    scheduler_.observe(plan.shape, now_ms() - start_ms);
  ++totals_.steps;
  retired_.clear();
}

void StepLoop::check() const {
  std::vector<const kv::Sequence*> sequences;
  for (const auto& [id, answer] : answers_) {
    sequences.push_back(&answer->sequence);
    for (const auto& sibling : answer->siblings) sequences.push_back(&sibling->sequence);
  }
  cache_.check(sequences);
}

}  // namespace fastcache::engine
