// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using testing::RawClient;
using testing::Seen;
using testing::TestServer;

std::string get(const std::string& target) { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"; }

TEST(HttpDrain, WhatRunsEndsAndNothingBegins) {
  Seen seen;
  auto server = std::make_unique<TestServer>(HttpOptions{}, testing::test_routes(seen));
  RawClient running(server->port()), idle(server->port()), half(server->port());
  running.send(get("/gated"));
  running.read_until("1\r\n1\r\n");
  half.send("GET /hello HT");
  while (server->counters().connections_open < 3) std::this_thread::yield();
  server->http().drain();
  EXPECT_TRUE(idle.ended());
  half.send("TP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(half.read_reply().status, 503);
  EXPECT_THROW(RawClient(server->port()), std::runtime_error);
  server->on_server([&] { return seen.open_gate(), 0; });
  EXPECT_EQ(running.read_until("0\r\n\r\n"), "1\r\n2\r\n0\r\n\r\n");
  EXPECT_TRUE(running.ended());
  running.close(), half.close();
  server->wait();
}

TEST(HttpDrain, AnswersThatBeginLateCloseTheConnection) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  RawClient running(server.port());
  running.send(get("/late"));
  ASSERT_TRUE(seen.begun.wait_for(1));
  server.http().drain();
  server.on_server([&] { return seen.open_gate(), 0; });
  const testing::RawReply reply = running.read_reply();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("connection"), "close");
  EXPECT_TRUE(running.ended());
  server.wait();
}

TEST(HttpDrain, WhatTakesTooLongIsCut) {
  Seen seen;
  HttpOptions options;
  options.drain_s = 0.05;
  TestServer server(options, testing::test_routes(seen));
  RawClient running(server.port());
  running.send(get("/endless"));
  ASSERT_TRUE(seen.begun.wait_for(1));
  server.http().drain();
  server.wait();
  EXPECT_EQ(seen.gone.count(), 1);
  EXPECT_EQ(seen.ended.count(), 1);
}

TEST(HttpDrain, TheSecondCallCutsAtOnce) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  RawClient running(server.port());
  running.send(get("/wait"));
  ASSERT_TRUE(seen.begun.wait_for(1));
  server.http().drain();
  server.http().drain();
  server.wait();
  EXPECT_EQ(seen.gone.count(), 1);
}

}  // namespace
}  // namespace fastcache::server
