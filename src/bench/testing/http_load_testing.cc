// SPDX-License-Identifier: Apache-2.0
#include "bench/testing/http_load_testing.h"

namespace fastcache::bench::test_support {

HttpLoadOptions load_on(const ScriptedServer& server, int n) {
  HttpLoadOptions options;
  options.server = {.url = parse_load_url(server.url()), .api_key = "", .timeout_s = 20};
  for (int i = 0; i < n; ++i) {
    options.bodies.push_back({.json = std::to_string(i), .generate_tokens = 3, .prompt_tokens = 0});
    options.arrivals_ms.push_back(0);
  }
  return options;
}

HttpLoadResult run_and_summarise(const HttpLoadOptions& options) {
  return summarise(run_http_load(options), options.bodies, {});
}

std::string usage_event() {
  return sse_event(R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}})");
}

std::string done_event() { return sse_event("[DONE]"); }

void answer_well(ScriptedReply& reply) {
  reply.begin_stream();
  reply.send_chunk(text_event("a") + text_event("b") + text_event("c") + usage_event() + done_event());
  reply.end_stream();
}

void Gate::open() {
  const std::lock_guard lock(mutex_);
  open_ = true;
  opened_.notify_all();
}

void Gate::wait() {
  std::unique_lock lock(mutex_);
  opened_.wait(lock, [&] { return open_; });
}

}  // namespace fastcache::bench::test_support
