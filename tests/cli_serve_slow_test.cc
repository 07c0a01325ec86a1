// SPDX-License-Identifier: Apache-2.0
// `fastcache serve` under what takes its time: a thousand killed clients, and OpenAI's own client.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>

#include "model/testing/tiny_model.h"
#include "serve_child.h"
#include "serve_clients.h"

namespace fastcache {
namespace {

using test_support::ask;
using test_support::http_request;
using test_support::ServerChild;

TEST(CliServeSlow, AThousandKilledClientsLeaveAnEmptyPool) {
  const model::test_support::TemporaryFolder folder;
  const std::string tiny = folder.file("tiny.gguf");
  model::test_support::write_tiny_model(tiny, {.context_length = 4096, .seed = 5});
  ServerChild server({"-m", tiny, "--pool", "64MiB", "--no-prefix-cache"});
  const std::string body = R"({"prompt": "a b c d", "max_tokens": 3000, "ignore_eos": true, "stream": true})";
  const int port = server.port();
  server.wait_until_ready();
  for (int round = 0; round < 10; ++round) {
    test_support::kill_streaming_clients(port, http_request("POST", "/v1/completions", body),
                                         {.clients = 100, .at_once = 25});
    test_support::expect_empty_pool(port);
  }
  EXPECT_EQ(ask(port, "GET", "/health").status, 200);
  server.send_signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0);
}

TEST(CliServeSlow, OfficialPythonClient) {
  constexpr int kNoNetwork = 77;
  const int status = std::system("tools/openai_client/run --program " FASTCACHE_PROGRAM);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kNoNetwork) GTEST_SKIP() << "pip cannot fetch the client's package";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace fastcache
