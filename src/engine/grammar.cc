// SPDX-License-Identifier: Apache-2.0
#include "engine/grammar.h"

#include <spdlog/fmt/fmt.h>
#include <time.h>

#include <cmath>

#include "base/error.h"
#include "engine/gbnf_check.h"
#include "model/libllama.h"

namespace fastcache::engine {
namespace {

bool prints(const llama_vocab* vocab, llama_token token) {
  const int hidden = LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN;
  return (llama_vocab_get_attr(vocab, token) & hidden) == 0;
}

double thread_cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

Grammar::Grammar(const model::Vocab& vocab, const std::string& gbnf, const char* parameter) : vocab_(&vocab) {
  check_gbnf(gbnf, parameter);
  model::take_llama_error();
  std::string reason;
  try {
    sampler_.reset(llama_sampler_init_grammar(vocab.llama_vocab_ptr(), gbnf.c_str(), "root"));
    if (!sampler_) reason = model::take_llama_error();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  if (!sampler_) {
    throw Error{
        Code::bad_request,
        fmt::format("{}: {}", parameter, reason.empty() ? "libllama refuses it, without a reason" : reason)};
  }
}

void Grammar::check_usable() const {
  if (!exhausted_) return;
  throw Error{
      Code::bad_request,
      "the grammar is too ambiguous: what came so far can be read in too many ways; let its alternatives "
      "begin differently"};
}

Grammar Grammar::fork() const {
  check_usable();
  return {*vocab_, llama_sampler_clone(sampler_.get())};
}

bool Grammar::allows(model::Token token) {
  llama_token_data one{token, 0.0f, 0.0f};
  llama_token_data_array candidates{&one, 1, -1, false};
  apply(candidates);
  return one.logit == 0.0f;
}

void Grammar::apply(llama_token_data_array& candidates) {
  check_usable();
  llama_sampler_apply(sampler_.get(), &candidates);
  const llama_vocab* vocab = vocab_->llama_vocab_ptr();
  for (size_t i = 0; i < candidates.size; ++i) {
    llama_token_data& candidate = candidates.data[i];
    if (!prints(vocab, candidate.id) && !llama_vocab_is_eog(vocab, candidate.id)) candidate.logit = -INFINITY;
  }
}

// libllama aborts, or throws and is unusable afterwards, on a token that it did not allow: ask it first.
void Grammar::accept(model::Token token) {
  if (!allows(token))
    throw Error{Code::bad_request, fmt::format("the grammar does not allow token {} here", token)};
  const double begin = thread_cpu_s();
  exhausted_ = true;
  llama_sampler_accept(sampler_.get(), token);
  exhausted_ = thread_cpu_s() - begin > kMaxTokenSeconds;
  check_usable();
}

}  // namespace fastcache::engine
