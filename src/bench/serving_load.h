// SPDX-License-Identifier: Apache-2.0
// What arrives in a serving benchmark, and when. The same load gives the same prompts and times.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace fastcache::bench {

struct ServingLoad {
  int requests = 0;
  double rate_per_s = std::numeric_limits<double>::infinity();  // 0 or infinite: all at once
  double burstiness = 1;  // shape of the gamma-distributed gaps; 1: Poisson arrivals
  int prompt_tokens = 512;
  int shared_prefix_tokens = 0;  // of prompt_tokens, the same in all prompts
  int n_vocab = 0;               // prompts are drawn from all tokens of the model
  uint64_t seed = 0;
};

// Throws Error (bad_request) for what cannot be drawn.
void check(const ServingLoad& load);

// [requests], ascending, since the start; the first is 0.
std::vector<double> arrival_times_ms(const ServingLoad& load);

// [requests][prompt_tokens]
std::vector<std::vector<int32_t>> random_prompts(const ServingLoad& load);

}  // namespace fastcache::bench
