// SPDX-License-Identifier: Apache-2.0
// `fastcache serve` as a child, and requests to it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "server/testing/raw_client.h"

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

// Closes the connection after the answer.
std::string http_request(const std::string& method, const std::string& path, const std::string& body = {},
                         const std::string& headers = {});
server::testing::RawReply ask(int port, const std::string& method, const std::string& path,
                              const std::string& body = {}, const std::string& headers = {});

}  // namespace fastcache::test_support
