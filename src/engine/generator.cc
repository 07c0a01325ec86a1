// SPDX-License-Identifier: Apache-2.0
#include "engine/generator.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/log.h"
#include "model/windows.h"

namespace fastcache::engine {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

kv::PoolOptions pool_options(const model::HParams& hparams, const GeneratorOptions& options) {
  return {.head_dim = hparams.head_dim, .bytes = options.pool_bytes, .types = {options.kv_type}};
}

}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::pool_full:
      return "pool_full";
    case FinishReason::context_full:
      return "context_full";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "?";
}

int pool_capacity_tokens(const model::HParams& hparams, const kv::PagePool& pool, kv::KvType type) {
  const size_t pages_per_block =
      static_cast<size_t>(hparams.n_layers) * static_cast<size_t>(hparams.n_kv_heads);
  const size_t blocks = pool.available_pages() / pages_per_block;
  const size_t tokens = blocks * static_cast<size_t>(kv::rows_per_page(type));
  return static_cast<int>(std::min(tokens, static_cast<size_t>(hparams.context_length)));
}

Generator::Generator(const model::LoadedModel& model, ComputePool& compute, const GeneratorOptions& options)
    : model_(model),
      options_(options),
      pool_(pool_options(model.hparams, options)),
      runner_(model.hparams, *model.family, pool_, compute),
      sequence_(pool_, model::cache_shape(model.hparams, options.kv_type)) {
  if (options.chunk_tokens < 1) {
    throw Error{Code::bad_request,
                fmt::format("chunk_tokens is {}; it must be at least 1", options.chunk_tokens)};
  }
}

void Generator::check_prompt(std::span<const model::Token> prompt) const {
  if (prompt.empty()) throw Error{Code::bad_request, "the prompt is empty; it must have at least one token"};
  for (model::Token token : prompt) {
    if (!model_.vocab.is_valid(token)) {
      throw Error{Code::bad_request, fmt::format("token {} is not in the vocabulary of {} tokens", token,
                                                 model_.vocab.n_tokens())};
    }
  }
  const int n = static_cast<int>(prompt.size());
  if (n >= model_.hparams.context_length) {
    throw Error{Code::context_too_long,
                fmt::format("the prompt has {} tokens; the model's context holds {}, one of "
                            "them for the answer",
                            n, model_.hparams.context_length)};
  }
  const size_t blocks = (prompt.size() + 1 + static_cast<size_t>(sequence_.shape().rows()) - 1) /
                        static_cast<size_t>(sequence_.shape().rows());
  const size_t bytes = blocks * static_cast<size_t>(sequence_.shape().n_heads()) * pool_.page_bytes();
  if (bytes > pool_.n_pages() * pool_.page_bytes()) {
    throw Error{Code::pool_too_small,
                fmt::format("the prompt's {} tokens need {} bytes of KV; the pool has {}", n, bytes,
                            pool_.n_pages() * pool_.page_bytes())};
  }
}

// Keeps the rows of the longest common prefix. The prompt's last token always runs again: its logits are
// needed.
int Generator::reuse_prefix(std::span<const model::Token> prompt) {
  const int most = std::min(sequence_.token_count(), static_cast<int>(prompt.size()) - 1);
  int n = 0;
  while (n < most && sequence_.tokens()[n].id == prompt[static_cast<size_t>(n)]) ++n;
  if (!model::can_truncate(model_.hparams, sequence_, n)) n = 0;  // its windows' rows are gone
  sequence_.truncate_to(n);
  return n;
}

std::optional<std::span<const float>> Generator::step(std::span<const model::Token> tokens,
                                                      bool want_logits) {
  if (!sequence_.append_text(tokens)) return std::nullopt;
  const int n = static_cast<int>(tokens.size());
  const int32_t last = n - 1;
  const model::StepSequence part{
      .sequence = &sequence_,
      .n_new = n,
      .logit_rows = want_logits ? std::span(&last, 1) : std::span<const int32_t>()};
  try {
    const std::span<const float> logits = runner_.run(std::span(&part, 1));
    model::free_unseen_pages(model_.hparams, sequence_);
    return logits;
  } catch (...) {
    sequence_.truncate_to(sequence_.token_count() - n);  // rows that were never written
    throw;
  }
}

std::optional<std::span<const float>> Generator::prefill(std::span<const model::Token> tokens,
                                                         const std::function<bool()>& keep_going) {
  sequence_.set_state(kv::PageState::prefill);
  while (keep_going()) {
    const size_t n = std::min(tokens.size(), static_cast<size_t>(options_.chunk_tokens));
    const bool last = n == tokens.size();
    const auto logits = step(tokens.first(n), last);
    if (!logits) throw Error{Code::pool_too_small, "the KV pool ran out of pages during the prompt"};
    if (last) return logits;
    tokens = tokens.subspan(n);
  }
  return std::nullopt;
}

// From the first token of the answer on; returns why it ended.
FinishReason Generator::decode(model::Token token, int max_tokens, Sampler& sampler,
                               const std::function<bool(model::Token)>& on_token, int& n_generated) {
  sequence_.set_state(kv::PageState::decode);
  while (true) {
    if (model_.vocab.is_eog(token)) return FinishReason::stop;
    ++n_generated;
    if (!on_token(token)) return FinishReason::cancelled;
    if (n_generated == max_tokens) return FinishReason::length;
    if (sequence_.token_count() + 1 >= model_.hparams.context_length) return FinishReason::context_full;
    const auto logits = step(std::span(&token, 1), true);
    if (!logits) return FinishReason::pool_full;
    token = sampler.sample(*logits).id;
  }
}

GenerateStats Generator::generate(std::span<const model::Token> prompt, int max_tokens,
                                  const SamplingParams& sampling,
                                  const std::function<bool(model::Token)>& on_token,
                                  const std::function<bool()>& keep_going) {
  const Clock::time_point start = Clock::now();
  check_prompt(prompt);
  if (max_tokens < 1)
    throw Error{Code::bad_request, fmt::format("max_tokens is {}; it must be at least 1", max_tokens)};
  Sampler sampler(sampling, model_.vocab);
  sampler.see_prompt(prompt);
  GenerateStats stats;
  stats.prompt_tokens = static_cast<int>(prompt.size());
  stats.reused_tokens = reuse_prefix(prompt);

  const auto logits = prefill(prompt.subspan(static_cast<size_t>(stats.reused_tokens)), keep_going);
  stats.finish_reason = FinishReason::cancelled;
  Clock::time_point first_token = Clock::now();
  if (logits) {
    const model::Token first = sampler.sample(*logits).id;
    first_token = Clock::now();
    stats.finish_reason = decode(first, max_tokens, sampler, on_token, stats.generated_tokens);
  }
  stats.prefill_s = seconds_between(start, first_token);
  stats.decode_s = seconds_between(first_token, Clock::now());
  for (int layer = 0; layer < model_.hparams.n_layers; ++layer)
    stats.rows = std::max(stats.rows, sequence_.rows_held(layer, 0));
  const kv::SequenceBytes bytes = sequence_.bytes();
  stats.kv_bytes = bytes.exclusive + bytes.shared;
  return stats;
}

void Generator::forget() { sequence_.release(); }

}  // namespace fastcache::engine
