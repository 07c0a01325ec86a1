// SPDX-License-Identifier: Apache-2.0
// From what was seen of each request to the figures of a load on a server.
#pragma once

#include <string>
#include <vector>

#include "bench/http_load.h"

namespace fastcache::bench {

// Requests that failed in the same way.
struct LoadFailure {
  std::string kind;  // "HTTP 429", "no answer", "broken answer"
  int count = 0;
  std::string first_message;
};

struct HttpLoadResult : LoadFigures {
  int not_finished = 0;   // the load was stopped before
  int without_usage = 0;  // completed ones whose tokens are chunks, counted here
  int short_answers = 0;  // completed ones with fewer tokens than they were asked for
  int most_in_flight = 0, connects = 0;
  // TTFT without the engine's own: connection, HTTP, JSON, tokenization and the way back. NaN where the
  // server does not say what its engine needed.
  Latency ttft_beside_engine;
  std::vector<LoadFailure> failures;  // most frequent first
};

HttpLoadResult summarise(const HttpLoadRun& run, const std::vector<LoadBody>& bodies, const Goodput& goodput);

}  // namespace fastcache::bench
