// SPDX-License-Identifier: Apache-2.0
#include "bench/http_calls.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <exception>

#include "base/log.h"
#include "bench/http_connection.h"

namespace fastcache::bench {
namespace {

namespace asio = boost::asio;

constexpr std::chrono::milliseconds kLookEvery{100};

// Faults leave io_context::run().
void rethrow(const std::exception_ptr& error) {
  if (error != nullptr) std::rethrow_exception(error);
}

class Calls {
 public:
  explicit Calls(const HttpCalls& calls)
      : calls_(calls), io_(1), addresses_(resolve(io_, calls.server.url)) {}

  void run() {
    working_ = std::clamp(calls_.concurrency, 1, std::max(calls_.n, 1));
    if (calls_.go_on) asio::co_spawn(io_, watch(), rethrow);
    for (int i = working_; i > 0; --i) asio::co_spawn(io_, work(), rethrow);
    io_.run();
  }

 private:
  asio::awaitable<void> watch() {
    asio::steady_timer timer(io_);
    while (calls_.go_on()) {
      timer.expires_after(kLookEvery);
      co_await timer.async_wait(asio::use_awaitable);
    }
    io_.stop();
  }

  asio::awaitable<void> work() {
    HttpConnection connection(io_, addresses_, connects_);
    while (next_ < calls_.n) {
      const int i = next_++;
      const std::optional<std::string> body = calls_.body(i);
      if (!body) continue;
      HttpReply reply;
      const HttpCall call{.url = &calls_.server.url,
                          .path = calls_.path,
                          .body = &*body,
                          .api_key = calls_.server.api_key,
                          .timeout_s = calls_.server.timeout_s};
      const HttpOutcome outcome =
          co_await connection.call(call, [&](std::string_view bytes) { reply.body += bytes; });
      if (outcome.status != 200 && outcome.status != 0)
        reply.error = fmt::format("HTTP {}: {}", outcome.status, error_message(outcome.body));
      else
        reply.error = outcome.error;
      calls_.on_reply(i, std::move(reply));
    }
    if (--working_ == 0) io_.stop();
  }

  const HttpCalls& calls_;
  int next_ = 0, working_ = 0, connects_ = 0;
  asio::io_context io_;
  asio::ip::tcp::resolver::results_type addresses_;
};

}  // namespace

void run_http_calls(const HttpCalls& calls) { Calls(calls).run(); }

}  // namespace fastcache::bench
