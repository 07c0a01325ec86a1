// SPDX-License-Identifier: Apache-2.0
// Random draws without a state: see sampler.h.
#pragma once

#include <llama.h>

#include <cstdint>

namespace fastcache::engine {

// In [0, 1), 53 random bits: a function of its arguments. attempt: 0 or 1.
double uniform(uint64_t seed, uint64_t n_accepted, uint64_t attempt);

// A token by the softmax of the candidates' logits, by inversion. Candidates: at least one, logits finite.
int32_t draw(const llama_token_data_array& candidates, double chance);

}  // namespace fastcache::engine
