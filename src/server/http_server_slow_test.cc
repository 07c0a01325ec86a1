// SPDX-License-Identifier: Apache-2.0
// Thousands of clients, in a process of their own: it has its own limit of open files, and can be killed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>

#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using testing::ask;
using testing::RawClient;
using testing::Seen;
using testing::TestServer;

const std::string kHello = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";

// Runs `clients(port)` in a child once it is given the port. Made before the server: a fork must not copy its
// thread. The child keeps what the function returns until it is told to end or killed.
class ClientProcess {
 public:
  explicit ClientProcess(const std::function<std::vector<RawClient>(int port)>& clients) {
    if (::pipe(to_child_) != 0 || ::pipe(from_child_) != 0) throw std::runtime_error("no pipe");
    std::fflush(nullptr);
    child_ = ::fork();
    if (child_ == 0) run(clients);
  }
  ~ClientProcess() {
    if (child_ > 0) kill();
    for (const int end : {to_child_[0], to_child_[1], from_child_[0], from_child_[1]}) ::close(end);
  }
  ClientProcess(const ClientProcess&) = delete;
  ClientProcess& operator=(const ClientProcess&) = delete;

  void start(int port) { ASSERT_EQ(::write(to_child_[1], &port, sizeof port), ssize_t{sizeof port}); }
  bool ready() {  // waits until the function has returned; false: it threw
    char byte = 'n';
    return ::read(from_child_[0], &byte, 1) == 1 && byte == 'y';
  }
  void kill() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  [[noreturn]] void run(const std::function<std::vector<RawClient>(int port)>& clients) {
    rlimit files = {};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    int port = 0;
    if (::read(to_child_[0], &port, sizeof port) != ssize_t{sizeof port}) ::_exit(1);
    char answer = 'y';
    std::vector<RawClient> kept;
    try {
      kept = clients(port);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "clients: %s\n", error.what());
      answer = 'n';
    }
    if (::write(from_child_[1], &answer, 1) != 1) ::_exit(1);
    while (::read(to_child_[0], &port, sizeof port) > 0) {
    }
    ::_exit(0);
  }

  int to_child_[2];
  int from_child_[2];
  pid_t child_ = -1;
};

size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

double ms_of(const std::function<void()>& what) {
  const auto begin = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

void wait_for_connections(TestServer& server, int count) {
  while (server.counters().connections_open != count) std::this_thread::yield();
}

int many_connections() {
  rlimit files = {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  return static_cast<int>(std::min<rlim_t>(10'000, files.rlim_max - 300));
}

TEST(HttpServerSlow, TenThousandIdleConnectionsCostLittle) {
  const int count = many_connections();
  ClientProcess clients([count](int port) {
    std::vector<RawClient> kept;
    for (int i = 0; i < count; ++i) {
      kept.emplace_back(port).send(kHello);
      if (kept.back().read_reply().body != "hello") throw std::runtime_error("no answer");
    }
    return kept;
  });
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  ask(server.port(), kHello);
  wait_for_connections(server, 0);
  const size_t before = resident_bytes();
  clients.start(server.port());
  ASSERT_TRUE(clients.ready());
  EXPECT_EQ(server.counters().connections_open, count);
  const double each = static_cast<double>(resident_bytes() - before) / count;
  const double ms = ms_of([&] { EXPECT_EQ(ask(server.port(), kHello).status, count == 10'000 ? 503 : 200); });
  std::printf("%d idle connections: %.0f bytes each, one more is answered in %.1f ms\n", count, each, ms);
  EXPECT_LT(each, 6 << 10);
  clients.kill();
  wait_for_connections(server, 0);
  EXPECT_EQ(ask(server.port(), kHello).body, "hello");
}

TEST(HttpServerSlow, AbortedStreamsLeaveNothing) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  size_t after_first = 0;
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 1000; ++i) {
      RawClient client(server.port());
      client.send("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
      client.read_until("\r\n\r\n");
      if (i % 2 == 0) client.reset();
    }
    ASSERT_TRUE(seen.ended.wait_for(1000 * (round + 1)));
    EXPECT_EQ(seen.gone.count(), 1000 * (round + 1));
    wait_for_connections(server, 0);
    if (round == 0) after_first = resident_bytes();
  }
  std::printf("3000 more aborted streams: %ld KiB more\n",
              (long(resident_bytes()) - long(after_first)) / 1024);
  EXPECT_LT(resident_bytes(), after_first + (2 << 20));
}

TEST(HttpServerSlow, AKilledProcessWithAThousandStreams) {
  ClientProcess clients([](int port) {
    std::vector<RawClient> kept;
    for (int i = 0; i < 1000; ++i) kept.emplace_back(port).send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    return kept;
  });
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  clients.start(server.port());
  ASSERT_TRUE(clients.ready());
  ASSERT_TRUE(seen.begun.wait_for(1000));
  clients.kill();
  ASSERT_TRUE(seen.ended.wait_for(1000));
  EXPECT_EQ(seen.gone.count(), 1000);
  wait_for_connections(server, 0);
}

TEST(HttpServerSlow, TwoThousandSlowClientsAreDroppedAndHoldNobodyUp) {
  ClientProcess clients([](int port) {
    std::vector<RawClient> kept;
    for (int i = 0; i < 2000; ++i) kept.emplace_back(port).send("GET /hello HTTP/1.1\r\nA: ");
    for (int round = 0; round < 1000; ++round) {
      bool any = false;
      for (RawClient& client : kept) any |= client.send("a");
      if (!any) return kept;
      ::usleep(10'000);
    }
    throw std::runtime_error("the server did not drop the slow clients");
  });
  Seen seen;
  HttpOptions options;
  options.limits.header_timeout_ms = 1500;
  TestServer server(options, testing::test_routes(seen));
  clients.start(server.port());
  wait_for_connections(server, 2000);
  double longest = 0;
  for (int i = 0; i < 50; ++i)
    longest = std::max(longest, ms_of([&] { EXPECT_EQ(ask(server.port(), kHello).body, "hello"); }));
  std::printf("beside 2000 slow clients: %.1f ms at most for an answer\n", longest);
  EXPECT_LT(longest, 500);
  ASSERT_TRUE(clients.ready());
  wait_for_connections(server, 0);
}

}  // namespace
}  // namespace fastcache::server
