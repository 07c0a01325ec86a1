// SPDX-License-Identifier: Apache-2.0
// StepLoop: what the scheduler is told.
#include <algorithm>

#include "engine/step_loop.h"

namespace fastcache::engine {
namespace {

// Waiting requests whose cached prefix is looked up before a step, the first to arrive. The others are
// planned as if nothing of them were cached: never wrong, and asked again when they have moved up.
constexpr int kAskCacheFor = 16;

// Cached rows bring no queries: those that the press wants are computed anew. A hit leaves out the last token
// that is asked for.
size_t plain_tokens_to_ask(const AnswerState& answer) {
  const press::PressNeeds& needs = answer.request->press_needs;
  if (answer.press_at() == AnswerState::kNever || !needs.looks_at_queries())
    return static_cast<size_t>(answer.feed_end());
  if (needs.looks_at_all_queries()) return 1;
  return static_cast<size_t>(std::max(1, answer.n_prompt() - needs.last_queries + 1));
}

}  // namespace

// Of the tokens that are fed first; `compressed` says by which kind of entry.
int StepLoop::cached_tokens(const AnswerState& answer, bool& compressed) const {
  compressed = false;
  if (!options_.prefix_cache) return 0;
  const auto tokens = answer.kv_tokens(0, answer.feed_end());
  const std::span<const Hash128> digests = answer.request->image_digests;
  PrefixPrompt prompt{.tokens = tokens, .image_digests = digests};
  const int plain = cache_.cached_tokens(
      answer.request->plain_rows,
      {.tokens = prompt.tokens.first(plain_tokens_to_ask(answer)), .image_digests = digests});
  if (!answer.request->compresses) return plain;
  const int had = answer.compressed_prefix_tokens;
  if (answer.prefix_is_settled() && had == 0) return plain;
  if (answer.prefix_is_settled()) prompt.tokens = prompt.tokens.first(static_cast<size_t>(had) + 1);
  const int earlier_turns = cache_.cached_tokens(answer.request->compressed_rows, prompt);
  compressed =
      answer.prefix_is_settled() ? earlier_turns == had : earlier_turns > 0 && earlier_turns >= plain;
  return compressed ? earlier_turns : plain;
}

// That the biases of a compression's new rows may take beside the rows.
int64_t StepLoop::most_bias_pages(int n_rows) const {
  const int64_t per_page = static_cast<int64_t>(kv::page_payload_bytes(pool_.head_dim()) / sizeof(float));
  return shape_.n_heads() * ((n_rows + shape_.rows() - 1 + per_page) / per_page);
}

// Per head, of an answer that is compressed during decoding, once its prompt is.
int StepLoop::rows_at_most(const AnswerState& answer) const {
  const RequestState& request = *answer.request;
  const int64_t compressed = int64_t{request.press.budget.value_or(0)} + request.press_interval;
  const int64_t tokens =
      std::min(int64_t{answer.n_prompt()} + request.max_tokens, int64_t{model_.hparams.context_length});
  return static_cast<int>(std::min(compressed, tokens));
}

int64_t StepLoop::pages_at_most(const AnswerState& answer) const {
  const int n_rows = rows_at_most(answer);
  const int64_t n_heads = shape_.n_heads(), per_page = shape_.rows();
  // Heads that hold different numbers of rows have no more together, but each may have a page partly filled.
  const int64_t of_rows = answer.request->press_is_even
                              ? empty_page_need(shape_.n_heads(), shape_.rows()).pages_for(n_rows)
                              : (n_heads * n_rows + n_heads * (per_page - 1)) / per_page;
  // Rows behind those that have biases begin a new page.
  const int64_t of_biases =
      answer.request->press_needs.new_rows ? most_bias_pages(n_rows) + shape_.n_heads() : 0;
  return of_rows + of_biases;
}

WaitingRequest StepLoop::waiting_view(const AnswerState& answer, bool ask_cache) const {
  const RequestState& request = *answer.request;
  bool compressed = false;
  const int cached = ask_cache ? cached_tokens(answer, compressed) : 0;
  WaitingRequest view{.id = answer.id,
                      .priority = request.priority,
                      .arrival_ms = request.arrival_ms,
                      .deadline_ms = request.deadline_ms,
                      .prompt_tokens = answer.feed_end() - cached,
                      .kv_rows = cached,
                      .need = empty_page_need(shape_.n_heads(), shape_.rows()),
                      .n_forks = answer.n_forks(),
                      .preempted = answer.preempted};
  view.pages_alone = pages_with_forks(view.need, answer.feed_end(), view.n_forks, 1);
  if (request.longest_probe > 0)
    view.pages_alone =
        std::max(view.pages_alone, view.need.pages_for(answer.n_prompt() + request.longest_probe));
  if (request.press_needs.new_rows) view.pages_alone += most_bias_pages(answer.feed_end());
  view.pages_pinned = static_cast<int64_t>((cached + shape_.rows() - 1) / shape_.rows()) * shape_.n_heads();
  view.pages_pinned = std::min(view.pages_pinned, static_cast<int64_t>(cache_.evictable_pages()));
  if (request.press_bounds_rows) {
    view.pages_alone = std::max(view.pages_alone, pages_at_most(answer));
    view.pages_to_come = std::max<int64_t>(0, view.n_forks * pages_at_most(answer) - view.pages_pinned);
  }
  if (compressed) {
    // At most: each head's last page may be copied. Bounds that come to more than all rows would take, alone
    // and uncompressed, could keep a request out of an empty pool for ever.
    view.need.shared_tails = shape_.n_heads();
    if (view.pages_pinned + view.need.pages_for(view.prompt_tokens) > view.pages_alone)
      return waiting_view(answer, false);
  }
  return view;
}

RunningRequest StepLoop::running_view(const AnswerState& answer, bool pages_are_scarce) const {
  const RequestState& request = *answer.request;
  RunningRequest view{.id = answer.id,
                      .priority = request.priority,
                      .arrival_ms = request.arrival_ms,
                      .deadline_ms = request.deadline_ms,
                      .stage = answer.stage,
                      .prompt_tokens_left = answer.stage == Stage::prefill ? answer.tokens_left() : 0,
                      .n_forks = answer.stage == Stage::decode ? 1 : answer.n_forks(),
                      .steps_waited = answer.steps_waited,
                      .need = page_need_of(answer.sequence, pool_)};
  int64_t rows = 0, pages = 0;
  for (int layer = 0; layer < shape_.n_layers; ++layer) {
    for (int head = 0; head < shape_.n_kv_heads; ++head) {
      rows += answer.sequence.rows_held(layer, head);
      pages += answer.sequence.table(layer, head).n_pages();
    }
  }
  view.kv_rows = static_cast<int>(rows / shape_.n_heads());
  view.pages_held = pages;
  if (request.press_bounds_rows)
    view.pages_to_come = std::max<int64_t>(0, view.n_forks * pages_at_most(answer) - pages);
  if (pages_are_scarce) {  // only then it matters what a preemption would free, and it takes a walk
    view.pages_exclusive = static_cast<int64_t>(answer.sequence.bytes().exclusive / pool_.page_bytes());
  }
  return view;
}

Plan StepLoop::make_plan() {
  std::vector<WaitingRequest> waiting;
  std::vector<RunningRequest> running;
  const PoolPages pool{.total = static_cast<int64_t>(pool_.n_pages() - pool_.reserve_pages()),
                       .available = static_cast<int64_t>(pool_.available_pages()),
                       .evictable = static_cast<int64_t>(cache_.evictable_pages())};
  const int64_t step_pages = static_cast<int64_t>(options_.step_tokens) / shape_.rows() * shape_.n_heads() +
                             static_cast<int64_t>(answers_.size()) * shape_.n_heads();
  int64_t largest_waiting = 0;  // it may displace smaller priorities
  for (const auto& [id, answer] : answers_) {
    if (!answer->waiting) continue;
    waiting.push_back(waiting_view(*answer, static_cast<int>(waiting.size()) < kAskCacheFor));
    largest_waiting = std::max(largest_waiting, waiting.back().pages_alone);
  }
  const bool scarce = pool.available + pool.evictable < 2 * step_pages + largest_waiting;
  for (const auto& [id, answer] : answers_) {
    if (!answer->waiting) running.push_back(running_view(*answer, scarce));
  }
  return scheduler_.plan({.now_ms = now_ms(),
                          .pool = pool,
                          .token_budget = options_.step_tokens,
                          .max_running = options_.max_running,
                          .waiting = waiting,
                          .running = running});
}

void StepLoop::admit(AnswerState& answer) {
  answer.waiting = false;
  answer.stage = Stage::prefill;
  answer.steps_waited = 0;
  bool compressed = false;
  const int cached = cached_tokens(answer, compressed);
  if (!answer.prefix_is_settled()) answer.compressed_prefix_tokens = compressed ? cached : 0;
  if (cached == 0) return;
  const auto tokens = answer.kv_tokens(0, cached + 1);
  const PrefixNamespace& name = compressed ? answer.request->compressed_rows : answer.request->plain_rows;
  answer.sequence = cache_.lookup(name, {.tokens = tokens, .image_digests = answer.request->image_digests});
  answer.from_compressed_prefix = compressed;
  if (!answer.preempted) answer.request->summary.cached_tokens = answer.sequence.token_count();
}

}  // namespace fastcache::engine
