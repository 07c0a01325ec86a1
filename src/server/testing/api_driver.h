// SPDX-License-Identifier: Apache-2.0
// Calls the API's handlers without a network, over an engine with a tiny model. For tests.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"
#include "server/api.h"
#include "server/http.h"
#include "server/routes.h"

namespace fastcache::server::test_support {

// Records what is sent; can be a client that leaves or one that does not read.
class FakeReply final : public HttpReply {
 public:
  explicit FakeReply(boost::asio::io_context& io) : resumed_(io) {}

  int leave_at_write = -1;  // the client is gone when so many pieces were written
  bool gone_from_start = false;
  bool reads = true;  // else write() waits for read_on()

  int status = 0;
  std::string content_type, body;  // of a stream: all pieces
  Headers headers;
  std::vector<std::string> writes;
  bool begun = false, ended = false;

  void leave();
  void read_on();

  boost::asio::awaitable<void> send(int status, std::string_view content_type, std::string body,
                                    Headers headers) override;
  boost::asio::awaitable<void> begin_stream(std::string_view content_type, Headers headers) override;
  boost::asio::awaitable<void> write(std::string bytes) override;
  boost::asio::awaitable<void> end_stream() override;
  bool has_begun() const override { return begun; }
  void on_client_gone(std::function<void()> what) override;

 private:
  bool gone_ = false;
  std::function<void()> on_gone_;
  boost::asio::steady_timer resumed_;
};

// One call of a handler.
struct Exchange {
  explicit Exchange(boost::asio::io_context& io) : reply(io) {}
  HttpRequest request;
  FakeReply reply;
  bool done = false;
  bool client_gone = false;         // ClientGone left the handler
  std::exception_ptr foreign = {};  // something left it that may not
};

class ApiDriver {
 public:
  struct Options {
    model::test_support::TinyModel model = {.context_length = 512, .seed = 5};
    EngineOptions engine = {.pool_bytes = size_t{4} << 20, .threads = 1, .prefix_cache = false};
    ApiOptions api = {};
    std::optional<model::test_support::TinyMmproj> mmproj = {};  // of a model that sees
  };
  ApiDriver() : ApiDriver(Options{}) {}
  explicit ApiDriver(Options options);

  // Starts a call; run() carries it on. An Error that leaves the handler becomes a reply, as in the server.
  std::shared_ptr<Exchange> start(const std::string& method, const std::string& path, const std::string& body,
                                  const std::function<void(FakeReply&)>& prepare = {});
  void run(const std::function<bool()>& until);
  // To its end.
  std::shared_ptr<Exchange> call(const std::string& method, const std::string& path, const std::string& body,
                                 const std::function<void(FakeReply&)>& prepare = {});
  // Nothing waits or runs and all pages are free; false if that does not come within seconds.
  bool becomes_idle();

  Engine& engine() { return *engine_; }
  Api& api() { return *api_; }
  boost::asio::io_context& io() { return io_; }

 private:
  model::test_support::TemporaryFolder folder_;
  std::unique_ptr<Engine> engine_;
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> stays_{io_.get_executor()};
  std::unique_ptr<Api> api_;
  std::vector<Route> routes_;
};

// The data of the events of a stream, "[DONE]" too.
std::vector<std::string> events_of(const std::string& body);

}  // namespace fastcache::server::test_support
