// SPDX-License-Identifier: Apache-2.0
// From what was seen of each request and of the pool to the figures of a serving benchmark.
#pragma once

#include <span>
#include <vector>

#include "bench/load_figures.h"
#include "fastcache/engine.h"

namespace fastcache::bench {

struct RequestRecord {
  double planned_ms = 0;  // since the start: when it was to arrive
  std::vector<DeltaTime> deltas;
  bool completed = false;  // all of its tokens came
  Summary summary;
};

struct Spread {
  double min = 0, mean = 0, max = 0;
};

// Of the samples of Engine::stats(). Bytes.
struct PoolUse {
  size_t pool_bytes = 0;
  int samples = 0;
  Spread free, prefill, decode, compressed, shared, prefix_cached;
  size_t peak_used_bytes = 0;  // all but what is free
  size_t peak_held_bytes = 0;  // without what the prefix cache alone holds, which it gives up when asked
  EngineStats at_peak;         // the sample of peak_held_bytes
  int max_running = 0, max_waiting = 0;
};

// Latencies count from the planned arrival.
struct ServingResult : LoadFigures {
  double mean_queue_ms = 0, mean_prefill_ms = 0, mean_compress_ms = 0, mean_decode_ms = 0;
  int64_t cached_tokens = 0, preemptions = 0;
  size_t rows_before_compression = 0, rows_after_compression = 0, freed_bytes = 0;
  // Tokens per second from the last request's first token to the first request's last one; NaN if they never
  // ran all at once.
  double decode_throughput_all_running = 0;
  PoolUse pool;
};

// Nothing is thrown. samples: at least one.
ServingResult summarise(std::span<const RequestRecord> records, std::span<const EngineStats> samples);

}  // namespace fastcache::bench
