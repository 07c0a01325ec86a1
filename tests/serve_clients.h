// SPDX-License-Identifier: Apache-2.0
// Clients of `fastcache serve` that die while they are answered.
#pragma once

#include <string>

namespace fastcache::test_support {

struct KilledClients {
  int clients = 100;
  int at_once = 10;
};

// Each client is a process of its own that sends the request, and is killed by SIGKILL when a part of the
// answer has come.
void kill_streaming_clients(int port, const std::string& request, const KilledClients& how);

// The server has no request left, and its pool no page in use. Waits for it.
void expect_empty_pool(int port);

}  // namespace fastcache::test_support
