// SPDX-License-Identifier: Apache-2.0
#include "engine/sampler.h"

#include <llama.h>

#include <cmath>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::engine {
namespace {

struct ChainDeleter {
  void operator()(llama_sampler* chain) const { llama_sampler_free(chain); }
};

void check_range(const char* name, float value, float least, float most) {
  if (std::isnan(value) || value < least || value > most) {
    throw Error{Code::bad_request,
                fmt::format("{} is {}; it must be from {} to {}", name, value, least, most)};
  }
}

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

}  // namespace

void check(const SamplingParams& params) {
  check_range("temperature", params.temperature, 0.0f, 100.0f);
  check_range("top_p", params.top_p, 0.0f, 1.0f);
  check_range("min_p", params.min_p, 0.0f, 1.0f);
  if (params.top_k < 0)
    throw Error{Code::bad_request, fmt::format("top_k is {}; it must be 0 (off) or more", params.top_k)};
}

int32_t argmax(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<int32_t>(best);
}

struct Sampler::Impl {
  SamplingParams params;
  std::unique_ptr<llama_sampler, ChainDeleter> chain;
  std::vector<llama_token_data> candidates;
};

Sampler::Sampler(const SamplingParams& params) : impl_(std::make_unique<Impl>()) {
  check(params);
  impl_->params = params;
  if (params.temperature < kGreedyBelow) return;
  llama_sampler* chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
  impl_->chain.reset(chain);
  if (params.top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(params.top_k));
  if (params.top_p < 1.0f) llama_sampler_chain_add(chain, llama_sampler_init_top_p(params.top_p, 1));
  if (params.min_p > 0.0f) llama_sampler_chain_add(chain, llama_sampler_init_min_p(params.min_p, 1));
  llama_sampler_chain_add(chain, llama_sampler_init_temp(params.temperature));
  llama_sampler_chain_add(chain, llama_sampler_init_dist(params.seed));
}

Sampler::~Sampler() = default;
Sampler::Sampler(Sampler&&) noexcept = default;
Sampler& Sampler::operator=(Sampler&&) noexcept = default;

int32_t Sampler::sample(std::span<const float> logits) {
  check_finite(logits);
  if (!impl_->chain) return argmax(logits);
  std::vector<llama_token_data>& candidates = impl_->candidates;
  candidates.resize(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<llama_token>(i), logits[i], 0.0f};
  llama_token_data_array array{candidates.data(), candidates.size(), -1, false};
  llama_sampler_apply(impl_->chain.get(), &array);
  const llama_token token = array.data[array.selected].id;
  llama_sampler_accept(impl_->chain.get(), token);
  return token;
}

}  // namespace fastcache::engine
