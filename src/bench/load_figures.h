// SPDX-License-Identifier: Apache-2.0
// The figures that every serving benchmark reports, in process or over HTTP, under the names of
// `vllm bench serve`.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace fastcache::bench {

struct DeltaTime {
  double ms = 0;  // since the start of the benchmark, when its reader had it
  int tokens = 0;
};

struct RequestTiming {
  double start_ms = 0;  // since the start of the benchmark: what latencies count from
  std::span<const DeltaTime> deltas;
  int64_t input_tokens = 0, output_tokens = 0;
};

// Over all samples. NaN for none.
struct Latency {
  double mean_ms = 0, median_ms = 0, std_ms = 0, p99_ms = 0;
};

Latency latency_of(std::span<const double> values_ms);

// What a request must keep to be good; infinite: anything.
struct Goodput {
  double ttft_ms = std::numeric_limits<double>::infinity();
  double tpot_ms = std::numeric_limits<double>::infinity();  // an answer of one token has none and keeps it
  double e2el_ms = std::numeric_limits<double>::infinity();

  bool is_asked_for() const;
};

// {"ttft:500", "tpot:50"}, in milliseconds. Throws Error (bad_request).
Goodput parse_goodput(const std::vector<std::string>& limits);

struct LoadFigures {
  double duration_s = 0;  // from the first planned arrival to the last token
  int completed = 0, failed = 0;
  // Of completed requests, like all below; prompts count as they were sent.
  int64_t total_input_tokens = 0, total_output_tokens = 0;
  double request_throughput = 0;                             // per second
  double request_goodput = 0;                                // of those that kept all limits, per second
  double output_throughput = 0, total_token_throughput = 0;  // tokens per second
  Latency ttft;                                              // start to first delta
  Latency tpot;  // mean time between a request's tokens, the first excluded; where there are two at least
  Latency itl;   // between deltas of one request
  Latency e2el;  // start to last delta
};

// completed: each has a delta at least. Nothing is thrown.
LoadFigures load_figures(std::span<const RequestTiming> completed, int failed, const Goodput& goodput = {});

}  // namespace fastcache::bench
