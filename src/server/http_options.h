// SPDX-License-Identifier: Apache-2.0
// What the HTTP server is told, and what it counts.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fastcache::server {

struct HttpLimits {
  size_t request_line_bytes = 8 << 10;  // 414
  size_t header_bytes = 16 << 10;       // all fields together: 431
  size_t body_bytes = 32 << 20;         // 413
  size_t all_bodies_bytes = 512 << 20;  // of all connections together: 503
  size_t pipelined_bytes = 64 << 10;    // read ahead while a request is answered
  int max_connections = 10'000;         // one more is answered 503; lowered to what RLIMIT_NOFILE allows
  int64_t header_timeout_ms = 10'000;   // from a request's first byte to its empty line: 408; TLS handshake
  int64_t body_timeout_ms = 10'000;     // and what the bytes that came take at ...
  int64_t body_bytes_per_s = 16 << 10;  // ... this slowest rate: 408
  int64_t idle_timeout_ms = 60'000;     // without a request
  int64_t write_timeout_ms = 30'000;    // a client that takes no byte for so long is dropped
};

struct HttpOptions {
  std::string host = "127.0.0.1";
  int port = 0;                   // 0: any free one
  bool open_without_key = false;  // listen beyond this machine though there is no key
  std::vector<std::string> keys;  // none: whoever reaches the port may ask
  std::vector<std::string>
      cors_origins;            // "https://example.org", or "*"; none: no other site's pages may ask
  std::string tls_chain_file;  // PEM, the server's certificate first; TLS if both are given
  std::string tls_key_file;    // PEM
  double drain_s = 30;         // what running requests get before drain() cuts them
  bool log_json = false;       // the line per request as a JSON object
  HttpLimits limits;
};

// Since the start. Server's thread.
struct HttpCounters {
  int connections_open = 0;
  uint64_t connections_accepted = 0;
  uint64_t connections_refused = 0;              // over the cap
  std::array<uint64_t, 6> responses_by_class{};  // [status / 100]; 499 (left before the answer) counts as 4
  std::map<std::string, uint64_t> errors;        // by the error object's code
  uint64_t clients_gone = 0;                     // left while their request was answered
  uint64_t bytes_received = 0;                   // of plain text, under TLS too
  uint64_t bytes_sent = 0;
};

}  // namespace fastcache::server
