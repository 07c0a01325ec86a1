// SPDX-License-Identifier: Apache-2.0
// Many calls to a server, so many in flight at once, whose answers are wanted and not their times. One
// thread; each connection is kept for the next call.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "bench/http_load.h"

namespace fastcache::bench {

struct HttpReply {
  std::string body;   // whole, of status 200
  std::string error;  // why there is none, in a sentence: the server's own where it says one
};

struct HttpCalls {
  LoadServer server;
  std::string path;  // behind the URL's own
  int n = 0;
  int concurrency = 1;
  // The JSON of call i, made when it goes out. Nothing: it is not sent, and brings no reply.
  std::function<std::optional<std::string>(int i)> body;
  std::function<void(int i, HttpReply reply)> on_reply;
  std::function<bool()>
      go_on;  // several times a second; false ends it, and what is in flight brings no reply
};

// Blocks. The functions are called on this thread; what they throw leaves. Throws Error (io): the host is not
// found.
void run_http_calls(const HttpCalls& calls);

}  // namespace fastcache::bench
