// SPDX-License-Identifier: Apache-2.0
// An HttpServer on a port of its own and in a thread of its own, and routes that show what it does. For
// tests.
#pragma once

#include <boost/asio/post.hpp>

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "server/http_server.h"

namespace fastcache::server::testing {

class TestServer {
 public:
  explicit TestServer(HttpOptions options = {}, std::vector<Route> routes = {});
  ~TestServer();  // stops it, whatever runs

  HttpServer& http() { return http_; }
  int port() const { return http_.port(); }
  void wait() { thread_.join(); }  // until run() has returned, after http().drain()

  // Runs `what` on the server's thread and returns its result.
  template <class What>
  auto on_server(What what) {
    std::packaged_task<decltype(what())()> task(std::move(what));
    auto result = task.get_future();
    boost::asio::post(http_.context(), [&task] { task(); });
    return result.get();
  }
  HttpCounters counters() {
    return on_server([this] { return http_.counters(); });
  }

 private:
  HttpServer http_;
  std::thread thread_;
};

// Counts on one thread, waited for on another.
class Tally {
 public:
  void add();
  int count() const;
  bool wait_for(int count);  // false: 20 s went by

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

struct Seen {
  Tally begun;                      // requests to /wait and /endless whose handler runs
  Tally gone;                       // on_client_gone fired
  std::function<void()> open_gate;  // server's thread, once a request to /gated has begun
  Tally ended;                      // handlers that ended, in whatever way
};

// GET /hello "hello"; GET /open the same without a key; POST /echo the body; GET and POST /what the request
// in words GET /stream?n=3 a stream of "0\n" "1\n" "2\n"; GET /endless?bytes=1000 one without an end, a piece
// per ms; GET /cut one that throws in the middle;
//   GET /gated "1" and, after open_gate(), "2"
// GET /wait answers when the client is gone; GET /silent sends nothing
// GET /error?code=overloaded throws that Error, or another exception for a code that is none
std::vector<Route> test_routes(Seen& seen);

}  // namespace fastcache::server::testing
