// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <llama.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "engine/chance.h"
#include "engine/grammar.h"
#include "engine/penalties.h"
#include "model/json_schema.h"

namespace fastcache::engine {
namespace {

struct ChainDeleter {
  void operator()(llama_sampler* chain) const { llama_sampler_free(chain); }
};
using Chain = std::unique_ptr<llama_sampler, ChainDeleter>;

// Logits divided by less could overflow; what is left of chance there is nothing.
constexpr float kGreedyBelow = 1e-4f;

// A NaN has no order: sorting by it is undefined.
void check_finite(std::span<const float> logits) {
  float sum = 0;
  for (const float logit : logits) sum += logit * 0.0f;  // NaN as soon as one is NaN or infinite
  if (sum != 0.0f) {
    throw Error{Code::invalid_model,
                "the model computed numbers that are not finite; its weights are damaged, or too large"};
  }
}

void check_token(const char* where, int32_t token, const model::Vocab& vocab) {
  if (vocab.is_valid(token)) return;
  throw Error{Code::bad_request,
              fmt::format("{}: {} is no token; they go from 0 to {}", where, token, vocab.n_tokens() - 1)};
}

// Truncation and temperature keep no state.
Chain make_chain(const SamplingParams& params) {
  if (params.temperature < kGreedyBelow) return nullptr;
  llama_sampler* chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
  if (params.top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(params.top_k));
  if (params.top_p < 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_top_p(params.top_p, 1));
  if (params.min_p > 0.0f) llama_sampler_chain_add(chain, llama_sampler_init_min_p(params.min_p, 1));
  llama_sampler_chain_add(chain, llama_sampler_init_temp(params.temperature));
  return Chain(chain);
}

std::optional<Grammar> make_grammar(const SamplingParams& params, const model::Vocab& vocab) {
  if (!params.grammar.empty()) return Grammar(vocab, params.grammar, "grammar");
  if (!params.json_schema.empty())
    return Grammar(vocab, model::grammar_of_json_schema(params.json_schema), "json_schema");
  return std::nullopt;
}

}  // namespace

int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<int32_t>(best);
}

struct Sampler::Impl {
  Impl(const SamplingParams& p, const model::Vocab& v)
      : params(p), vocab(&v), chain(make_chain(p)), grammar(make_grammar(p, v)), penalties(p) {}
  Impl(const Impl& from, uint64_t seed_offset)
      : params(from.params), vocab(from.vocab), chain(make_chain(params)), penalties(from.penalties) {
    if (from.grammar) grammar = from.grammar->fork();
    n_accepted = from.n_accepted;
    params.seed += seed_offset;
  }

  bool may_end() const {
    return !params.ignore_eos && n_accepted >= static_cast<uint64_t>(params.min_tokens);
  }
  bool adjusts() const { return !params.logit_bias.empty() || penalties.active() || !may_end(); }

  int32_t pick(std::span<const float> logits);
  std::span<const float> adjust(std::span<const float> logits);
  llama_token_data_array candidates_of(std::span<const float> logits);
  int32_t pick_allowed(std::span<const float> logits);
  void restrict_candidates(std::span<const float> logits);
  int32_t choose(llama_token_data_array candidates, uint64_t attempt);

  SamplingParams params;
  const model::Vocab* vocab;
  Chain chain;  // none: greedy
  std::optional<Grammar> grammar;
  Penalties penalties;
  uint64_t n_accepted = 0;
  std::vector<float> adjusted;               // [n_vocab], scratch
  std::vector<llama_token_data> candidates;  // scratch
};

// Bias, penalties, no end yet: in a copy, where there is anything to change. Minus infinity is a ban.
std::span<const float> Sampler::Impl::adjust(std::span<const float> logits) {
  if (!adjusts()) return logits;
  adjusted.assign(logits.begin(), logits.end());
  for (const LogitBias& entry : params.logit_bias) {
    adjusted[static_cast<size_t>(entry.token)] += entry.bias == -100.0f ? -INFINITY : entry.bias;
  }
  penalties.apply(adjusted);
  if (!may_end()) {
    for (const model::Token token : vocab->eog_tokens()) adjusted[static_cast<size_t>(token)] = -INFINITY;
  }
  return adjusted;
}

llama_token_data_array Sampler::Impl::candidates_of(std::span<const float> logits) {
  candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] != -INFINITY) candidates.push_back({static_cast<llama_token>(i), logits[i], 0.0f});
  }
  return {candidates.data(), candidates.size(), -1, false};
}

int32_t Sampler::Impl::choose(llama_token_data_array array, uint64_t attempt) {
  if (!chain) {
    const std::span all(array.data, array.size);
    return std::max_element(all.begin(), all.end(),
                            [](const auto& a, const auto& b) { return a.logit < b.logit; })
        ->id;  // the first of equals: ids ascend
  }
  llama_sampler_apply(chain.get(), &array);
  return draw(array, uniform(params.seed, n_accepted, attempt));
}

int32_t Sampler::Impl::pick(std::span<const float> raw) {
  const std::span<const float> logits = adjust(raw);
  if (!chain) {
    const int32_t best = argmax(logits);
    if (logits[static_cast<size_t>(best)] != -INFINITY && (!grammar || grammar->allows(best))) return best;
  } else if (const llama_token_data_array array = candidates_of(logits); array.size > 0) {
    const int32_t token = choose(array, 0);
    if (!grammar || grammar->allows(token)) return token;
  }
  return pick_allowed(logits);
}

// Leaves the candidates that the grammar allows, or so many of the best of them that choose() sees no
// difference: to test a whole vocabulary takes milliseconds.
void Sampler::Impl::restrict_candidates(std::span<const float> logits) {
  const auto restrict_all = [&] {
    llama_token_data_array array{candidates.data(), candidates.size(), -1, false};
    grammar->apply(array);
    std::erase_if(candidates, [](const llama_token_data& c) { return c.logit == -INFINITY; });
  };
  const size_t needed = chain ? static_cast<size_t>(params.top_k) : 1;
  const size_t tried = needed * 32;
  if (needed > 0 && tried < candidates.size() / 4) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(tried),
                     candidates.end(), [](const auto& a, const auto& b) {
                       return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
                     });
    candidates.resize(tried);
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    restrict_all();
    if (candidates.size() >= needed) return;
    candidates_of(logits);
  }
  restrict_all();
}

// The second attempt, with the grammar applied to all. Where it is complete and only an end can follow, the
// answer ends, whatever min_tokens and ignore_eos say: they were asked for, but so was the grammar.
int32_t Sampler::Impl::pick_allowed(std::span<const float> logits) {
  llama_token_data_array array = candidates_of(logits);
  if (grammar) {
    restrict_candidates(logits);
    if (candidates.empty() && !may_end()) {
      for (const model::Token token : vocab->eog_tokens()) {
        if (grammar->allows(token)) return token;
      }
    }
    array = {candidates.data(), candidates.size(), -1, false};
  }
  if (array.size == 0) {
    throw Error{Code::bad_request,
                grammar ? "no token of the vocabulary is left that the grammar and logit_bias allow"
                        : "logit_bias bans every token; leave at least one"};
  }
  return choose(array, 1);
}

Sampler::Sampler(const SamplingParams& params, const model::Vocab& vocab) {
  check(params);
  for (const LogitBias& entry : params.logit_bias) check_token("logit_bias", entry.token, vocab);
  impl_ = std::make_unique<Impl>(params, vocab);
}

Sampler::Sampler(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

int Sampler::n_accepted() const { return static_cast<int>(impl_->n_accepted); }

Sampler Sampler::fork(uint64_t seed_offset) const {
  return Sampler(std::make_unique<Impl>(*impl_, seed_offset));
}

void Sampler::see_prompt(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) check_token("prompt", token, *impl_->vocab);
  for (const int32_t token : tokens) impl_->penalties.see(token, false);
}

void Sampler::accept(int32_t token) {
  check_token("accept", token, *impl_->vocab);
  if (impl_->grammar) impl_->grammar->accept(token);
  impl_->penalties.see(token, true);
  ++impl_->n_accepted;
}

SampledToken Sampler::sample(std::span<const float> logits) {
  check_finite(logits);
  SampledToken token{.id = impl_->pick(logits)};
  if (impl_->params.logprobs >= 0) {
    const double log_sum = log_sum_exp(logits);
    token.logprob = static_cast<float>(logits[static_cast<size_t>(token.id)] - log_sum);
    token.top_logprobs = top_logprobs(logits, log_sum, impl_->params.logprobs);
  }
  accept(token.id);
  return token;
}

}  // namespace fastcache::engine
