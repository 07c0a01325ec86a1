// SPDX-License-Identifier: Apache-2.0
#include "serve_child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

namespace fastcache::test_support {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{60};

}  // namespace

ServerChild::ServerChild(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);  // thousands of log lines before anybody reads them
  std::vector<std::string> words{FASTCACHE_PROGRAM, "serve", "--port", "0"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("no process");
  if (child_ == 0) {
    dup2(ends[1], STDERR_FILENO);
    for (const std::string& variable : environment) putenv(const_cast<char*>(variable.c_str()));
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(ends[1]);
  err_ = ends[0];
}

ServerChild::~ServerChild() {
  if (child_ > 0) {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }
  close(err_);
}

bool ServerChild::wait_for_log(const std::string& text) {
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (log_.find(text) == std::string::npos) {
    std::array<char, 4096> buffer;
    pollfd end{err_, POLLIN, 0};
    const ssize_t n =
        Clock::now() < deadline && poll(&end, 1, 60000) > 0 ? read(err_, buffer.data(), buffer.size()) : 0;
    if (n <= 0) {
      ADD_FAILURE() << "'" << text << "' was not said; there was:\n" << log_;
      return false;
    }
    log_.append(buffer.data(), static_cast<size_t>(n));
  }
  return true;
}

int ServerChild::port() {
  const std::string before = "listening on ";  // and then http://host:port
  if (!wait_for_log(before) || !wait_for_log("\n")) return 0;
  const size_t url = log_.find("://", log_.find(before));
  const size_t colon = url == std::string::npos ? url : log_.find(':', url + 3);
  return colon == std::string::npos ? 0 : std::atoi(log_.c_str() + colon + 1);
}

void ServerChild::wait_until_ready() { wait_for_log("ready: "); }

void ServerChild::send_signal(int number) const { kill(child_, number); }

int ServerChild::wait_for_exit() {
  const Clock::time_point deadline = Clock::now() + kPatience;
  int status = 0;
  std::array<char, 4096> buffer;
  while (Clock::now() < deadline) {  // its log ends when it does
    pollfd end{err_, POLLIN, 0};
    if (poll(&end, 1, 1000) <= 0) continue;
    const ssize_t n = read(err_, buffer.data(), buffer.size());
    if (n <= 0) {
      waitpid(child_, &status, 0);
      child_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    log_.append(buffer.data(), static_cast<size_t>(n));
  }
  ADD_FAILURE() << "the server did not end; there was:\n" << log_;
  return -1;
}

std::string http_request(const std::string& method, const std::string& path, const std::string& body,
                         const std::string& headers) {
  std::string request =
      method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers;
  if (!body.empty()) {
    request += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
  }
  return request + "\r\n" + body;
}

server::testing::RawReply ask(int port, const std::string& method, const std::string& path,
                              const std::string& body, const std::string& headers) {
  return server::testing::ask(port, http_request(method, path, body, headers));
}

}  // namespace fastcache::test_support
