// SPDX-License-Identifier: Apache-2.0
// `fastcache serve` as a child, and plain sockets that talk to it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace fastcache::test_support {

// One object, one process; killed at the end if it still runs.
class ServerChild {
 public:
  // Starts `fastcache serve --port 0` and more. Returns at once.
  explicit ServerChild(const std::vector<std::string>& arguments,
                       const std::vector<std::string>& environment = {});
  ~ServerChild();
  ServerChild(const ServerChild&) = delete;
  ServerChild& operator=(const ServerChild&) = delete;

  // Reads its log until the text comes (what earlier calls saw included); false, and a test failure, if not.
  bool wait_for_log(const std::string& text);
  int port();  // waits until it listens; 0, and a test failure, if it does not
  void wait_until_ready();
  void send_signal(int number) const;
  int wait_for_exit();  // the exit code; -1: a signal, or it did not end in time
  const std::string& log() const { return log_; }

 private:
  pid_t child_ = -1;
  int err_ = -1;
  std::string log_;
};

// A connection to 127.0.0.1. Reading gives up after a minute, with a test failure.
class Connection {
 public:
  explicit Connection(int port);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void send(const std::string& bytes);
  // All that came until the text was there, the text included; until the end if it never came.
  std::string read_until(const std::string& text);
  std::string read_to_end() { return read_until(""); }
  void reset();  // closes without a farewell: the other side gets a reset

 private:
  int socket_ = -1;
  std::string received_;  // behind what read_until returned
};

struct HttpAnswer {
  int status = 0;
  std::string head, body;  // body: as sent; without chunk marks where the server says how long it is
};

std::string http_request(const std::string& method, const std::string& path, const std::string& body = {},
                         const std::string& headers = {});
HttpAnswer ask(int port, const std::string& method, const std::string& path, const std::string& body = {},
               const std::string& headers = {});

}  // namespace fastcache::test_support
