// SPDX-License-Identifier: Apache-2.0
// What a grammar allows next, by libllama's grammar sampler. Owner: one thread. Works on the text of tokens;
// control tokens print nothing and are never allowed, tokens that end an answer where the grammar is
// complete.
#pragma once

#include <llama.h>

#include <memory>
#include <string>

#include "model/vocab.h"

namespace fastcache::engine {

inline constexpr double kMaxTokenSeconds = 0.2;

class Grammar {
 public:
  // gbnf has a rule `root`. The vocabulary must outlive it. Throws Error (bad_request) that names `parameter`
  // and says what is wrong where.
  Grammar(const model::Vocab& vocab, const std::string& gbnf, const char* parameter);
  Grammar fork() const;  // throws as apply() would

  bool allows(model::Token token);  // microseconds
  // Sets the logits of those that are not allowed to minus infinity. Milliseconds for a whole vocabulary.
  void apply(llama_token_data_array& candidates);
  // Throws Error (bad_request) for a token that is not allowed; the state is then as before. Also when
  // libllama needs too long for one token (kMaxTokenSeconds of CPU), because the grammar can be read in too
  // many ways: every call throws then.
  void accept(model::Token token);

 private:
  struct Free {
    void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
  };
  void check_usable() const;
  Grammar(const model::Vocab& vocab, llama_sampler* sampler) : vocab_(&vocab), sampler_(sampler) {}

  const model::Vocab* vocab_;
  std::unique_ptr<llama_sampler, Free> sampler_;
  bool exhausted_ = false;
};

}  // namespace fastcache::engine
