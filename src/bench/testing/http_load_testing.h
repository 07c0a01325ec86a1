// SPDX-License-Identifier: Apache-2.0
// What the tests of the load generator share.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>

#include "bench/http_load.h"
#include "bench/http_load_result.h"
#include "bench/testing/scripted_server.h"

namespace fastcache::bench::test_support {

// n requests at once, with their number as body; each asks for 3 tokens.
HttpLoadOptions load_on(const ScriptedServer& server, int n);
HttpLoadResult run_and_summarise(const HttpLoadOptions& options);

std::string usage_event();  // 5 tokens in, 3 out
std::string done_event();
// A whole stream of three tokens, with usage.
void answer_well(ScriptedReply& reply);

// Opens once: until then those who wait() are held.
class Gate {
 public:
  void open();
  void wait();

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

}  // namespace fastcache::bench::test_support
