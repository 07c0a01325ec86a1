// SPDX-License-Identifier: Apache-2.0
// The server while its model is being loaded; the rest is in tests/cli_serve_test.cc.
#include "server/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <future>
#include <thread>

#include "base/error.h"
#include "model/testing/tiny_model.h"
#include "server/testing/raw_client.h"

namespace fastcache::server {
namespace {

using model::test_support::TemporaryFolder;
using ::testing::HasSubstr;

int port_of(const std::string& url) { return std::stoi(url.substr(url.rfind(':') + 1)); }

testing::RawReply get(int port, const std::string& path) {
  return testing::ask(port, "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
}

// A server on a thread of its own whose model comes when the test says so.
class LoadingServer {
 public:
  explicit LoadingServer(LoadEngine load) : load_(std::move(load)) {
    options_.http.port = 0;
    thread_ = std::thread([this] { run(); });
    port_ = port_of(listening_.get_future().get());
  }
  ~LoadingServer() {
    if (thread_.joinable()) thread_.join();
  }
  int port() const { return port_; }
  void let_load() { may_load_.set_value(); }
  void wait_until_ready() { ready_.get_future().wait(); }
  int exit_code() { return exit_code_.get_future().get(); }  // or what it threw

 private:
  void run() {
    const ServerEvents events{.listening = [this](const std::string& url) { listening_.set_value(url); },
                              .ready = [this](const std::string&) { ready_.set_value(); }};
    try {
      exit_code_.set_value(run_server(options_, events, [this] {
        may_load_.get_future().wait();
        return load_();
      }));
    } catch (...) {
      exit_code_.set_exception(std::current_exception());
    }
  }

  LoadEngine load_;
  ServerOptions options_;
  std::promise<std::string> listening_;
  std::promise<void> ready_, may_load_;
  std::promise<int> exit_code_;
  int port_ = 0;
  std::thread thread_;
};

class ServerLoading : public ::testing::Test {
 protected:
  std::unique_ptr<Engine> tiny_engine() {
    const std::string path = folder_.file("tiny.gguf");
    model::test_support::write_tiny_model(path, {.context_length = 64});
    return std::make_unique<Engine>(EngineOptions{.model = path, .pool_bytes = 8 << 20, .threads = 1});
  }
  TemporaryFolder folder_;
};

TEST_F(ServerLoading, SaysSoUntilTheModelIsThere) {
  LoadingServer server([this] { return tiny_engine(); });
  for (const char* path : {"/health", "/v1/models", "/metrics"}) {
    const testing::RawReply reply = get(server.port(), path);
    EXPECT_EQ(reply.status, 503) << path;
    EXPECT_THAT(reply.body, HasSubstr("being loaded"));
    EXPECT_TRUE(reply.headers.contains("retry-after"));
  }
  EXPECT_EQ(get(server.port(), "/").status, 200) << "the page needs no model";
  server.let_load();
  server.wait_until_ready();
  for (const char* path : {"/health", "/v1/models", "/metrics", "/fastcache/state", "/"})
    EXPECT_EQ(get(server.port(), path).status, 200) << path;
  EXPECT_EQ(get(server.port(), "/nowhere").status, 404);
  EXPECT_THAT(get(server.port(), "/metrics").body,
              HasSubstr("\nfastcache:http_responses_total{class=\"5xx\"} 3\n"));
  kill(getpid(), SIGTERM);
  EXPECT_EQ(server.exit_code(), 0);
}

TEST_F(ServerLoading, ModelThatCannotBeLoaded) {
  LoadingServer server([]() -> std::unique_ptr<Engine> {
    throw Error{Code::invalid_model, "the file is broken"};
  });
  server.let_load();
  EXPECT_THROW(server.exit_code(), Error);
}

TEST_F(ServerLoading, ToldToStopMeanwhile) {
  LoadingServer server([this] { return tiny_engine(); });
  kill(getpid(), SIGTERM);
  server.let_load();
  EXPECT_EQ(server.exit_code(), 0);
}

}  // namespace
}  // namespace fastcache::server
