// SPDX-License-Identifier: Apache-2.0
// One line per request. Never bodies, never keys, never the query (it may carry either).
#pragma once

#include <cstdint>
#include <string>

namespace fastcache::server {

struct RequestRecord {
  std::string id, peer;
  std::string method, path;  // as sent; empty where the request was not readable
  int status = 0;            // 499: the client left before the answer
  double ms = 0;             // from the request's first byte to the answer's last
  uint64_t bytes = 0;        // of the answer's body
  bool cut = false;          // the answer did not end
};

// At info. As JSON the message is an object; a pattern of "%v" makes the whole line one.
void log_request(const RequestRecord& record, bool as_json);

// Without what could end a line or hide in it: control characters, quotes, what is not ASCII; at most 200
// bytes of it.
std::string printable(const std::string& text);

std::string request_line_text(const RequestRecord& record);
std::string request_line_json(const RequestRecord& record);

}  // namespace fastcache::server
