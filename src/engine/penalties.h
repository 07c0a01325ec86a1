// SPDX-License-Identifier: Apache-2.0
// Repetition, presence and frequency penalties by libllama's formula. Only tokens that were seen are touched:
// apply() costs O(different tokens in the window). Owner: one thread. Copying is a fork.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>

#include "engine/sampling_params.h"

namespace fastcache::engine {

class Penalties {
 public:
  explicit Penalties(const SamplingParams& params);

  bool active() const;  // else apply() changes nothing, and nothing is remembered
  void see(int32_t token, bool generated);
  void apply(std::span<float> logits) const;  // [n_vocab]

 private:
  struct Counts {
    int seen = 0;       // in the window
    int generated = 0;  // of those, in the answer
  };
  struct Seen {
    int32_t token;
    bool generated;
  };
  float repetition_, presence_, frequency_;
  int last_n_;
  std::unordered_map<int32_t, Counts> counts_;
  std::deque<Seen> window_;  // oldest first; empty without a bound
};

}  // namespace fastcache::engine
