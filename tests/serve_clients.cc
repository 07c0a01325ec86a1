// SPDX-License-Identifier: Apache-2.0
#include "serve_clients.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <vector>

#include "serve_child.h"

namespace fastcache::test_support {
namespace {

struct Client {
  pid_t process = -1;
  int news = -1;  // readable when a part of the answer has come
};

Client start_client(int port, const std::string& request) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) return {};
  const pid_t process = fork();
  if (process == 0) {
    close(ends[0]);
    server::testing::RawClient connection(port);
    const bool came = connection.send(request) && connection.read_until("data: ").ends_with("data: ");
    if (!came || write(ends[1], "", 1) != 1) _exit(1);
    pause();
    _exit(1);
  }
  close(ends[1]);
  return {process, ends[0]};
}

// True if it was answered before it died.
bool kill_when_answered(const Client& client) {
  if (client.process < 0) return false;
  pollfd end{client.news, POLLIN, 0};
  char byte = 1;
  const bool answered = poll(&end, 1, 60000) == 1 && read(client.news, &byte, 1) == 1;
  kill(client.process, SIGKILL);
  waitpid(client.process, nullptr, 0);
  close(client.news);
  return answered;
}

}  // namespace

void kill_streaming_clients(int port, const std::string& request, const KilledClients& how) {
  for (int started = 0; started < how.clients; started += how.at_once) {
    std::vector<Client> clients;
    for (int i = 0; i < how.at_once; ++i) clients.push_back(start_client(port, request));
    for (const Client& client : clients) EXPECT_TRUE(kill_when_answered(client)) << "after " << started;
  }
}

void expect_empty_pool(int port) {
  const auto is_zero = [](const std::string& metrics, const std::string& name) {
    const size_t at = metrics.find("\nfastcache:" + name + "{");
    if (at == std::string::npos) return false;
    const size_t value = metrics.find("} ", at);
    return value != std::string::npos && metrics.compare(value, 4, "} 0\n") == 0;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::string metrics;
  while (std::chrono::steady_clock::now() < deadline) {
    metrics = ask(port, "GET", "/metrics").body;
    if (is_zero(metrics, "num_requests_running") && is_zero(metrics, "kv_cache_usage_perc")) return;
  }
  ADD_FAILURE() << "the pool did not become empty:\n" << metrics;
}

}  // namespace fastcache::test_support
