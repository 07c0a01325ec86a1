// SPDX-License-Identifier: Apache-2.0
// Speed of the model over the pool, in process and without a scheduler: the product's own runner, sequences
// and pages. Each figure is the median of several repeats. Owner: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "model/loaded_model.h"
#include "model/step_graph.h"

namespace fastcache::bench {

struct RawBenchOptions {
  kv::KvType kv_type = kv::KvType::bf16;
  size_t pool_bytes = 0;   // 0 = as much as the largest case needs
  int chunk_tokens = 512;  // prefill tokens in one step
  int repeats = 3;
  int decode_tokens = 64;  // decode steps per repeat
  bool profile = false;
  const model::LoraAdapter* lora = nullptr;  // all rows are computed with it; null: none is
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

struct BatchCase {
  int sequences = 0;
  int prompt_tokens = 0;
  int generated_tokens = 0;
};

struct RawBenchCases {
  std::vector<int> prefill_tokens;
  std::vector<int> decode_depths;  // tokens already in the cache
  std::vector<BatchCase> batches;
};

struct PrefillResult {
  int n = 0;
  double tokens_per_s = 0;
};

struct DecodeResult {
  int depth = 0;
  double tokens_per_s = 0;
};

struct BatchResult {
  BatchCase shape;
  double seconds = 0;  // all prompts and all answers
  double prefill_tokens_per_s = 0;
  double decode_tokens_per_s = 0;  // while all sequences decode together
  double ttft_p50_ms = 0;          // all requests arrive at the start
  double ttft_p99_ms = 0;
};

struct RawBenchResults {
  std::vector<PrefillResult> prefill;
  std::vector<DecodeResult> decode;
  std::vector<BatchResult> batches;
  std::vector<model::StepGraph::ProfileRow> profile;  // of everything that ran, warm-up included
};

// Throws Error: pool_too_small, context_too_long (a case is longer than the model's context), bad_request.
RawBenchResults run_raw_bench(const model::LoadedModel& model, ComputePool& compute,
                              const RawBenchCases& cases, const RawBenchOptions& options);

}  // namespace fastcache::bench
