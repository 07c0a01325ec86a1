// SPDX-License-Identifier: Apache-2.0
// StepLoop: tokens and ends of answers.
#include <algorithm>

#include "base/log.h"
#include "engine/step_loop.h"

namespace fastcache::engine {
namespace {

TokenInfo token_info(const SampledToken& token) {
  TokenInfo info{.id = token.id, .logprob = token.logprob, .top = {}};
  for (const TokenLogprob& other : token.top_logprobs) info.top.emplace_back(other.id, other.logprob);
  return info;
}

}  // namespace

std::unique_ptr<AnswerState> StepLoop::make_answer_state(std::shared_ptr<RequestState> request, int index,
                                                         Sampler sampler) const {
  TextStream text(model_.vocab, request->stop, request->sampling.min_tokens);
  return std::make_unique<AnswerState>(std::move(request), index, kv::Sequence(pool_, shape_),
                                       std::move(sampler), std::move(text));
}

void StepLoop::take_token(AnswerState& answer, const SampledToken& token) {
  RequestState& request = *answer.request;
  if (answer.ended) return;  // its request failed in this very step
  const double now = now_ms();
  if (request.first_token_ms < 0) request.first_token_ms = now;
  if (answer.n_generated() == 0) answer.first_token_ms = now;
  request.last_token_ms = answer.last_token_ms = now;
  if (model_.vocab.is_eog(token.id) && !request.sampling.ignore_eos) return finish(answer, Finish::stop);

  answer.tokens.push_back(token.id);
  ++request.summary.generated_tokens;
  Delta delta{.answer = answer.index, .text = answer.text.push(token.id), .tokens = {token_info(token)}};
  if (answer.text.stopped()) return finish(answer, Finish::stop, std::move(delta));
  const bool context_full = static_cast<int>(answer.tokens.size()) >= model_.hparams.context_length;
  if (answer.n_generated() >= request.max_tokens || context_full)
    return finish(answer, Finish::length, std::move(delta));
  request.channel->push(std::move(delta));
}

// Says so to the reader; the rows stay for as long as siblings wait for them.
void StepLoop::finish(AnswerState& answer, Finish how, Delta last) {
  if (answer.ended) return;
  answer.ended = true;
  RequestState& request = *answer.request;
  last.answer = answer.index;
  last.text += answer.text.flush();
  last.finished = true;
  last.finish = how;
  if (answer.n_generated() > 1) {
    request.tpot_sum_ms += (answer.last_token_ms - answer.first_token_ms) / (answer.n_generated() - 1);
    ++request.tpot_answers;
  }
  request.channel->push(std::move(last));
  if (--request.answers_left == 0) close(request, nullptr);
}

void StepLoop::end_now(AnswerState& answer, Finish how) {
  RequestState& request = *answer.request;
  // Answers that were never begun end with the first.
  if (answer.n_generated() == 0 && answer.index == 0 && !answer.ended) {
    for (int i = 1; i < request.n && answer.siblings.empty(); ++i) {
      --request.answers_left;
      request.channel->push({.answer = i, .text = {}, .tokens = {}, .finished = true, .finish = how});
    }
  }
  for (const auto& sibling : answer.siblings) finish(*sibling, how);
  finish(answer, how);
  retire(answer);
}

void StepLoop::fail(RequestState& request, std::exception_ptr error) {
  if (request.answers_left == 0) return;
  request.answers_left = 0;
  close(request, std::move(error));
  std::vector<AnswerState*> of_request;
  for (const auto& [id, answer] : answers_) {
    if (answer->request.get() == &request) of_request.push_back(answer.get());
  }
  for (AnswerState* answer : of_request) {
    for (const auto& sibling : answer->siblings) sibling->ended = true;
    answer->ended = true;
    answer->sequence.release();  // nothing of it is worth remembering
    retire(*answer);
  }
}

void StepLoop::close(RequestState& request, std::exception_ptr error) {
  Summary& summary = request.summary;
  const auto since = [](double begin_ms, double end_ms) {
    return begin_ms < 0 || end_ms < 0 ? 0.0 : end_ms - begin_ms;
  };
  summary.prompt_tokens = static_cast<int>(request.prompt.size());
  summary.encode_ms = since(request.arrival_ms, request.encoded_ms);
  summary.queue_ms = since(request.arrival_ms, request.first_step_ms);
  summary.prefill_ms = since(request.first_step_ms, request.first_token_ms);
  summary.ttft_ms = since(request.arrival_ms, request.first_token_ms);
  summary.decode_ms = since(request.first_token_ms, request.last_token_ms);
  summary.tpot_ms = request.tpot_answers > 0 ? request.tpot_sum_ms / request.tpot_answers : 0;
  totals_.prompt_tokens += summary.prompt_tokens;
  totals_.cached_tokens += summary.cached_tokens;
  totals_.generated_tokens += summary.generated_tokens;
  if (error != nullptr)
    request.channel->fail(std::move(error), summary);
  else
    request.channel->end(summary);
}

// They go on from the rows of the answer that computed the prompt: shared, copied where they write.
void StepLoop::start_siblings(AnswerState& answer) {
  for (auto& sibling : answer.siblings) {
    if (sibling->ended) {
      retired_.push_back(std::move(sibling));
      continue;
    }
    sibling->sequence = answer.sequence.fork();
    sibling->waiting = false;
    sibling->stage = Stage::decode;
    sibling->n_compressions = answer.n_compressions;
    sibling->n_reported = answer.n_reported;
    sibling->from_compressed_prefix = answer.from_compressed_prefix;
    sibling->compressed_prefix_tokens = answer.compressed_prefix_tokens;
    sibling->id = next_id_++;
    const RequestId id = sibling->id;
    answers_.emplace(id, std::move(sibling));
  }
  answer.siblings.clear();
}

// For the next turn of the conversation.
void StepLoop::remember(AnswerState& answer) {
  if (!options_.prefix_cache || answer.sequence.token_count() == 0) return;
  if (!answer.heads_to_compress.empty()) return;  // compressed in part: the next turn must not depend on that
  if (answer.compressed())
    cache_.insert_compressed(answer.request->compressed_rows, answer.request->image_digests, answer.sequence);
  else if (!answer.from_compressed_prefix)
    cache_.insert(answer.request->plain_rows, answer.request->image_digests, answer.sequence);
}

void StepLoop::retire(AnswerState& answer) {
  const auto at = answers_.find(answer.id);
  if (at == answers_.end()) return;
  leave_second_pass(answer);
  remember(answer);
  answer.sequence.release();
  answer.record.reset();
  retired_.push_back(std::move(at->second));
  answers_.erase(at);
}

}  // namespace fastcache::engine
