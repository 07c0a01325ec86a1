// SPDX-License-Identifier: Apache-2.0
// Bits for each layer of a model, measured on a text: runs the text once and asks press/tune_bits.h.
// Owner: one thread; the compute pool is busy meanwhile.
#pragma once

#include <span>
#include <vector>

#include "base/compute_pool.h"
#include "model/loaded_model.h"
#include "press/tune_bits.h"

namespace fastcache::engine {

struct BitTuningOptions {
  double average_bits = 4;
  int n_residual = 128;  // last tokens that stay as they are
  int n_queries = 32;    // of the last tokens, whose attention is compared
};

struct BitTuning {
  std::vector<press::BitErrors> errors{};  // [n_layers]
  std::vector<int> layer_bits{};           // [n_layers]
};

// tokens: of the text, in the vocabulary. The pages of all of them live in a pool of the function's own.
// Throws Error: bad_request (a text with nothing to quantise, an average that is not from 2 to 8),
// context_too_long.
BitTuning tune_bits(const model::LoadedModel& model, ComputePool& compute, std::span<const int32_t> tokens,
                    const BitTuningOptions& options);

}  // namespace fastcache::engine
