// SPDX-License-Identifier: Apache-2.0
// What a request may ask of the sampler, and the ranges.
#pragma once

#include <cstddef>

#include "fastcache/sampling.h"

namespace fastcache::engine {

inline constexpr size_t kMaxLogitBiases = 1024;

// Throws Error (bad_request) that names the parameter, its value and its range. Token ids and the texts of
// grammar and schema are checked where there is a vocabulary: by Sampler.
void check(const SamplingParams& params);

}  // namespace fastcache::engine
