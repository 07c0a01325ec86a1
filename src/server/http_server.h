// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 server on one thread. Knows connections, limits and keys; what is answered stands in the
// routes.
#pragma once

#include <boost/asio/io_context.hpp>

#include <memory>
#include <string>
#include <vector>

#include "server/http.h"
#include "server/http_options.h"

namespace fastcache::server {

class HttpServer {
 public:
  // Binds and listens; clients wait until run(). Raises RLIMIT_NOFILE to its hard limit and ignores SIGPIPE,
  // for the whole process. Throws Error: bad_request for options that cannot be meant (an address of other
  // machines without a key, a host that does not exist, a bad certificate), io where the system refuses.
  explicit HttpServer(HttpOptions options, std::vector<Route> routes = {});
  // Handlers that still wait are destroyed where they wait. After run() has returned, or without one.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Before run(), or on the server's thread: for those that need context(), counters() or a loaded model.
  void add_routes(std::vector<Route> routes);
  // The same. While there is a reason, paths without a route are answered 503 with it instead of 404.
  void set_starting(std::string reason);

  boost::asio::io_context& context();  // timers and posts of the handlers run here too
  int port() const;
  const HttpCounters& counters() const;  // server's thread

  // Serves on the calling thread, which is "the server's thread", until drain() has ended. Once.
  void run();

  // Both from any thread. The keys count once the server's thread gets to them; no keys, where there were
  // some, change nothing unless open_without_key is set. First call: no new connection, idle ones are closed,
  // further requests are answered 503; what runs may take drain_s. Second call, or drain_s later: clients are
  // dropped (on_client_gone), handlers get 5 s to return.
  void drain();
  void set_keys(std::vector<std::string> keys);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::server
