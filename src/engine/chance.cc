// SPDX-License-Identifier: Apache-2.0
#include "engine/chance.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace fastcache::engine {
namespace {

// The finalizer of splitmix64: every bit of x changes every bit of the result.
uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace

double uniform(uint64_t seed, uint64_t n_accepted, uint64_t attempt) {
  const uint64_t bits =
      mix(mix(seed + 0x9E3779B97F4A7C15u) + 0x9E3779B97F4A7C15u * (2 * n_accepted + attempt + 1));
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int32_t draw(const llama_token_data_array& candidates, double chance) {
  const std::span all(candidates.data, candidates.size);
  const float most = std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
                       return a.logit < b.logit;
                     })->logit;
  double sum = 0;
  for (llama_token_data& candidate : all) {
    candidate.p = std::exp(candidate.logit - most);
    sum += candidate.p;
  }
  const double target = chance * sum;
  double running = 0;
  int32_t last = all.front().id;
  for (const llama_token_data& candidate : all) {
    if (candidate.p == 0.0f) continue;
    last = candidate.id;
    running += candidate.p;
    if (running > target) break;
  }
  return last;
}

}  // namespace fastcache::engine
