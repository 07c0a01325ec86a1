// SPDX-License-Identifier: Apache-2.0
// Picks the next token from logits. Greedy is an argmax (the lowest id wins a tie), and a bare one when
// nothing else is asked. Owner: one thread; one sampler for each answer.
//
// Chance has no state: the draw for a token is a function of the seed and of how many tokens came before. So
// a seed gives the same answer in any company, and a sampler that was made anew and fed the tokens generated
// so far (accept) goes on as if it had never been interrupted.
//
// Grammar: a token is picked without it first and tested; only if the grammar refuses it, all candidates are
// tested and one more is drawn. Greedy: the likeliest allowed token, as if all had been tested at once.
// Sampling without top_k, top_p, min_p: exactly the distribution restricted to the allowed tokens, since
// p + (1 - allowed mass) * p / allowed mass = p / allowed mass. With truncation: a mixture of truncating
// first and restricting first, each token allowed by the grammar and kept by one of the two truncations.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/logprobs.h"
#include "engine/sampling_params.h"
#include "model/vocab.h"

namespace fastcache::engine {

struct SampledToken {
  int32_t id = 0;
  float logprob = 0.0f;                         // 0 unless params.logprobs >= 0: see logprobs.h
  std::vector<TokenLogprob> top_logprobs = {};  // params.logprobs of them, best first
};

int32_t argmax(std::span<const float> logits);

class Sampler {
 public:
  // Throws Error (bad_request) as check(), for a bias of an unknown token, and for a grammar or schema that
  // is wrong or not supported. The vocabulary must outlive it and stay where it is.
  Sampler(const SamplingParams& params, const model::Vocab& vocab);
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // The prompt's tokens, for repetition_penalty. Before the first sample(). Throws Error (bad_request) for a
  // number that is no token.
  void see_prompt(std::span<const int32_t> tokens);

  // logits: [n_vocab]. The token counts as part of the answer: it must not be accepted again.
  // Throws Error: invalid_model for logits that are NaN or infinite (damaged weights); bad_request when bias
  // and grammar leave no token; the sampler is then as before. Also bad_request when the grammar is too
  // ambiguous to go on (grammar.h); then it stays so.
  SampledToken sample(std::span<const float> logits);

  // Replay, after see_prompt(): a token of this answer that was sampled before. Throws Error (bad_request) if
  // it is no token, or not one that the grammar allows here.
  void accept(int32_t token);

  int n_accepted() const;  // tokens of the answer so far

  // The same state and parameters, but seed + seed_offset: answers 1 .. n-1 of a request for n.
  Sampler fork(uint64_t seed_offset) const;

 private:
  struct Impl;
  explicit Sampler(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::engine
