// SPDX-License-Identifier: Apache-2.0
// Picks the next token from logits. Greedy is an argmax (the lowest id wins a tie); everything else is
// libllama's sampler chain, applied to our logits. Owner: one thread; one sampler for each request, so that a
// seed gives the same answer in any company.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace fastcache::engine {

struct SamplingParams {
  float temperature = 0.0f;  // below 0.0001 = greedy
  int top_k = 40;            // 0 = off
  float top_p = 0.95f;       // 1 = off
  float min_p = 0.05f;       // 0 = off
  uint32_t seed = 0;
};

// Throws Error (bad_request) that names the parameter, its value and its range.
void check(const SamplingParams& params);

int32_t argmax(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplingParams& params);  // throws as check()
  ~Sampler();
  Sampler(Sampler&&) noexcept;
  Sampler& operator=(Sampler&&) noexcept;

  // [n_vocab] -> token id. Throws Error (invalid_model) for logits that are NaN or infinite: damaged weights.
  int32_t sample(std::span<const float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::engine
