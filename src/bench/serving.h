// SPDX-License-Identifier: Apache-2.0
// A serving benchmark in process: requests arrive at the public engine by the wall clock, and each is timed
// where its answer is read. The names are those that `vllm bench serve` reports.
#pragma once

#include <functional>
#include <string>

#include "bench/serving_load.h"
#include "bench/serving_result.h"
#include "fastcache/engine.h"

namespace fastcache::bench {

constexpr int kMostServingRequests = 4096;  // each has a thread that reads it

struct ServingOptions {
  EngineOptions engine = {};
  ServingLoad load = {};
  int generate_tokens = 64;      // of each request; no token ends an answer early
  Compression compression = {};  // of each request
  int context_tokens = 0;        // of the model
  int repeats = 1;               // each on a fresh engine: nothing is cached from the one before
  double sample_ms = 50;         // between two looks at Engine::stats()
  std::function<void(const std::string&)> progress = [](const std::string&) {};
};

// The repeat of median duration. Blocks until all answers are read; a short request has warmed the model up
// before. A request that the engine refuses as overloaded, or ends early, counts as failed; any other error
// ends the benchmark. Throws Error: bad_request, context_too_long, and what Engine and its answers throw.
ServingResult run_serving(const ServingOptions& options);

}  // namespace fastcache::bench
