// SPDX-License-Identifier: Apache-2.0
// A load on an OpenAI-compatible server: requests go out when they are due, and each is timed where its
// stream is read. One thread; a connection for each request in flight, kept alive for the next one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/answer_stream.h"
#include "bench/load_bodies.h"
#include "bench/load_url.h"

namespace fastcache::bench {

struct LoadServer {
  LoadUrl url;
  std::string api_key;     // empty: none
  double timeout_s = 600;  // without a byte
};

struct LoadProgress {
  int requests = 0, in_flight = 0, completed = 0, failed = 0;
};

struct HttpLoadOptions {
  LoadServer server;
  std::string endpoint = "/v1/completions";
  std::vector<LoadBody> bodies;
  std::vector<double> arrivals_ms;  // [bodies], ascending
  int max_concurrency = 0;          // 0: no bound. A request that is held back counts from when it may go
  int stop_handle = -1;             // a file descriptor: readable ends the load
  std::function<void(const LoadProgress&)> progress;  // several times a second; may be empty
};

struct HttpRecord {
  enum class State { not_sent, in_flight, completed, failed };
  State state = State::not_sent;
  double start_ms = 0;  // planned arrival, or when --max-concurrency let it go
  int status = 0;       // of HTTP; 0: no answer came
  StreamedAnswer answer;
};

struct HttpLoadRun {
  std::vector<HttpRecord> records;  // [bodies]
  int most_in_flight = 0;
  int connects = 0;
};

// Blocks until every answer is read or the load was stopped. What goes wrong with a request is its record's.
// Throws Error (io): the host is not found.
HttpLoadRun run_http_load(const HttpLoadOptions& options);

// The first that GET /v1/models lists. Throws Error: io where no server answers; unauthorized; unsupported.
std::string first_model(const LoadServer& server);

// Sends one request ahead, unmeasured: wakes the server up, and tells a wrong endpoint, model or key from
// overload. Throws Error as first_model, with the server's message.
void warm_up(const LoadServer& server, const std::string& endpoint, const LoadBody& body);

}  // namespace fastcache::bench
