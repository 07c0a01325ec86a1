// SPDX-License-Identifier: Apache-2.0
// StepLoop: one batch through the model, and the tokens drawn from its logits.
#include <algorithm>

#include "base/log.h"
#include "engine/step_loop.h"
#include "model/windows.h"
#include "press/prefill_record.h"

namespace fastcache::engine {

// False: no pages. Then the answer sits this step out, and the next plan knows better.
bool StepLoop::append(AnswerState& answer, int n_tokens) {
  const size_t fed = static_cast<size_t>(answer.sequence.token_count());
  answer.sequence.set_state(answer.stage == Stage::decode ? kv::PageState::decode : kv::PageState::prefill);
  const bool room =
      answer.second_pass != nullptr
          ? answer.sequence.append_text(answer.next_tokens().first(static_cast<size_t>(n_tokens)))
          : answer.sequence.append(answer.kv_tokens(static_cast<int>(fed), static_cast<int>(fed) + n_tokens));
  if (!room) return false;
  prepare_record(answer, static_cast<int>(fed));
  if (answer.request->first_step_ms < 0) answer.request->first_step_ms = now_ms();
  answer.steps_waited = 0;
  return true;
}

// What is granted, but no picture cut whose patches see each other: it goes in whole, if there are pages.
int StepLoop::tokens_to_feed(AnswerState& answer, int granted, std::span<AnswerState* const> batch) {
  const int n = std::min(granted, answer.tokens_left());
  if (n < 1 || answer.second_pass != nullptr) return n;
  const int fed = answer.sequence.token_count();
  const int whole = answer.step_end(fed, fed + n) - fed;
  return whole <= n || make_room_for_picture(answer, whole, batch) ? whole : 0;
}

// The scheduler counted pages for fewer tokens. Only those that came later give way, so somebody always gets
// on.
bool StepLoop::make_room_for_picture(const AnswerState& answer, int n_tokens,
                                     std::span<AnswerState* const> batch) {
  const size_t needed = answer.sequence.pages_to_append(n_tokens);
  while (pool_.available_pages() < needed) {
    if (cache_.evict(needed - pool_.available_pages()) > 0) continue;
    const auto gives_way = [&](const auto& entry) {
      const AnswerState& other = *entry.second;
      return other.id > answer.id && !other.waiting && other.sequence.token_count() > 0 &&
             std::find(batch.begin(), batch.end(), &other) == batch.end();
    };
    const auto victim = std::find_if(answers_.rbegin(), answers_.rend(), gives_way);
    if (victim == answers_.rend()) return false;
    preempt(*victim->second);
  }
  return true;
}

// For a press that looks at queries: memory for them is made with the first step that has any, when it is
// known how many there will be: those of the tokens since it came last. The rows of a compressed prefix bring
// none.
void StepLoop::prepare_record(AnswerState& answer, int fed) {
  if (answer.second_pass != nullptr)
    return press::expect_step(answer.second_pass->record, model_.hparams.n_layers,
                              {fed, answer.sequence.token_count()});
  const press::PressNeeds& needs = answer.request->press_needs;
  const int end = answer.press_at(), n_layers = model_.hparams.n_layers;
  if (!needs.looks_at_queries() || end == AnswerState::kNever) return;
  const int first_last = std::max(fed, end - needs.last_queries);
  if (!needs.looks_at_all_queries() && answer.sequence.token_count() <= first_last) return;
  if (answer.record == nullptr)
    answer.record = std::make_unique<model::QueryRecord>(
        press::make_record(needs, runner_.attention(), n_layers, {fed, end}));
  press::expect_step(*answer.record, n_layers, {fed, answer.sequence.token_count()});
}

// Behind a step: what the rows received of its queries.
void StepLoop::observe_attention(AnswerState& answer) {
  model::QueryRecord* record =
      answer.second_pass != nullptr ? &answer.second_pass->record : answer.record.get();
  if (record == nullptr) return;
  press::observe_step(pool_, answer.sequence, answer.from_compressed_prefix, compute_, *record);
}

// Rows that have left the sliding windows of local layers. The prefix cache takes the blocks first: a hit is
// of whole blocks and must find their rows in all layers.
void StepLoop::free_unseen(AnswerState& answer) {
  if (answer.second_pass != nullptr) return;  // the sequence goes back to the prompt's end
  if (model::unseen_pages(model_.hparams, answer.sequence) == 0) return;
  if (options_.prefix_cache && !answer.from_compressed_prefix && !answer.compressed())
    cache_.insert(answer.request->plain_rows, answer.request->image_digests, answer.sequence);
  model::free_unseen_pages(model_.hparams, answer.sequence);
}

// One token for the answer, and with the first one those of the request's other answers.
void StepLoop::add_samples(AnswerState& answer, size_t logit_row, std::vector<Sample>& samples) {
  samples.push_back({.answer = &answer, .logit_row = logit_row, .token = {}, .error = {}});
  if (answer.n_generated() > 0 || answer.index > 0) return;
  for (int i = 1; i < answer.request->n; ++i) {
    answer.siblings.push_back(
        make_answer_state(answer.request, i, answer.sampler.fork(static_cast<uint64_t>(i))));
    samples.push_back(
        {.answer = answer.siblings.back().get(), .logit_row = logit_row, .token = {}, .error = {}});
  }
}

// Each answer has a sampler of its own, so they draw side by side.
void StepLoop::draw(std::vector<Sample>& samples, std::span<const float> logits) {
  const size_t n_vocab = static_cast<size_t>(model_.hparams.n_vocab);
  compute_.parallel_for(static_cast<int>(samples.size()), [&](int i) {
    Sample& sample = samples[static_cast<size_t>(i)];
    try {
      sample.token = sample.answer->sampler.sample(logits.subspan(sample.logit_row * n_vocab, n_vocab));
    } catch (...) {
      sample.error = std::current_exception();
    }
  });
}

// What comes when all of an answer's tokens are fed and their rows written.
void StepLoop::after_feeding(AnswerState& answer) {
  if (!answers_.contains(answer.id)) return;  // its request failed
  if (answer.second_pass != nullptr) return end_probe(answer);
  if (options_.prefix_cache && answer.stage == Stage::prefill && !answer.from_compressed_prefix &&
      !answer.compressed()) {
    cache_.insert(answer.request->plain_rows, answer.request->image_digests, answer.sequence);
  }
  if (answer.is_over()) return retire(answer);
  if (answer.press_is_due()) {
    begin_compression(answer);
    return;
  }
  answer.stage = Stage::decode;
  start_siblings(answer);
  if (answer.ended) retire(answer);
}

// False: not everything in the batch ran.
bool StepLoop::run_batch(const std::vector<BatchItem>& items) {
  std::vector<AnswerState*> batch, fed;
  std::vector<model::StepSequence> step;
  std::vector<int32_t> last_rows(items.size());
  std::vector<std::vector<const float*>> embeddings(items.size());
  std::vector<Sample> samples;
  size_t n_logit_rows = 0;
  bool complete = true;
  for (const BatchItem& item : items) {
    const auto at = answers_.find(item.id);
    if (at == answers_.end()) continue;
    AnswerState& answer = *at->second;
    if (answer.waiting) {  // gave its pages to a picture of this step
      complete = false;
      continue;
    }
    const int n_new = tokens_to_feed(answer, item.n_tokens, batch);
    if (n_new > item.n_tokens) complete = false;  // took longer than planned
    if (n_new < 1 || !append(answer, n_new)) {
      complete = false;
      continue;
    }
    if (answer.tokens_left() == 0) fed.push_back(&answer);
    // A replay has its first token already, which may have been its end; it comes to the compression without
    // a new one, and to those during decoding.
    const bool wants_token = !answer.ended && answer.second_pass == nullptr &&
                             answer.sequence.token_count() == static_cast<int>(answer.tokens.size());
    int32_t& last_row = last_rows[batch.size()];
    last_row = n_new - 1;
    const int end = answer.sequence.token_count(), begin = end - n_new;
    if (answer.second_pass == nullptr) embeddings[batch.size()] = answer.embeddings(begin, end);
    step.push_back(
        {.sequence = &answer.sequence,
         .n_new = n_new,
         .logit_rows = wants_token ? std::span<const int32_t>(&last_row, 1) : std::span<const int32_t>(),
         .record = answer.second_pass != nullptr ? &answer.second_pass->record : answer.record.get(),
         .embeddings = embeddings[batch.size()],
         .adapted = answer.request->adapted});
    batch.push_back(&answer);
    if (wants_token) add_samples(answer, n_logit_rows++, samples);
  }
  if (step.empty()) return complete;
  try {
    draw(samples, runner_.run(step));
  } catch (const Error& error) {
    log().error("a step of the model failed: {}", error.what());
    for (AnswerState* answer : batch) fail(*answer->request, std::current_exception());
    return false;
  }
  for (AnswerState* answer : batch) observe_attention(*answer);
  // Who waits for a first token gets it before the others' next ones are written out: the reader of many
  // streams takes them in this order.
  std::ranges::stable_partition(samples,
                                [](const Sample& sample) { return sample.answer->n_generated() == 0; });
  for (Sample& sample : samples) {
    if (sample.error != nullptr)
      fail(*sample.answer->request, sample.error);
    else
      take_token(*sample.answer, sample.token);
  }
  for (AnswerState* answer : fed) after_feeding(*answer);
  for (AnswerState* answer : batch) free_unseen(*answer);
  return complete;
}

}  // namespace fastcache::engine
