// SPDX-License-Identifier: Apache-2.0
// Clients that leave, stall, cut their requests, or are too many: the others are served, and nothing stays
// behind.
#include <gmock/gmock.h>

#include <fmt/format.h>
#include <poll.h>

#include <random>

#include "base/test_seed.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using testing::ask;
using testing::RawClient;
using testing::RawReply;
using testing::Seen;
using testing::TestServer;

const std::string kHello = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";

std::string get(const std::string& target) { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n"; }

// Every connection has ended; posts run after what ended it.
void expect_no_connections(TestServer& server) {
  while (server.counters().connections_open > 0) std::this_thread::yield();
}

TEST(HttpClients, AClientThatLeavesIsNoticedWhileItsRequestRuns) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  constexpr int kClients = 60;
  for (int i = 0; i < kClients; ++i) {
    RawClient client(server.port());
    client.send(get(i % 2 == 0 ? "/wait" : "/endless"));
    ASSERT_TRUE(seen.begun.wait_for(i + 1));
    if (i % 3 == 0) client.close();
    if (i % 3 == 1) client.reset();
    if (i % 3 == 2) client.half_close();
    ASSERT_TRUE(seen.gone.wait_for(i + 1)) << i;
    ASSERT_TRUE(seen.ended.wait_for(i + 1)) << i;
  }
  EXPECT_EQ(seen.gone.count(), kClients);
  EXPECT_EQ(seen.ended.count(), kClients);
  expect_no_connections(server);
  EXPECT_EQ(ask(server.port(), kHello).body, "hello");
}

TEST(HttpClients, AbortsOfManyStreamsAtOnce) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  std::vector<RawClient> clients;
  for (int i = 0; i < 200; ++i) clients.emplace_back(server.port()).send(get("/endless"));
  for (RawClient& client : clients) client.read_until("\r\n\r\n");
  for (size_t i = 0; i < clients.size(); ++i) i % 2 == 0 ? clients[i].close() : clients[i].reset();
  EXPECT_TRUE(seen.ended.wait_for(200));
  EXPECT_EQ(seen.gone.count(), 200);
  expect_no_connections(server);
  EXPECT_EQ(server.counters().clients_gone, 200u);
}

// A client that ends its side is gone for a stream, but what is sent at once still reaches it: printf ... |
// nc.
TEST(HttpClients, AHalfClosedClientGetsItsShortAnswer) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  RawClient client(server.port());
  client.send(kHello + kHello);
  client.half_close();
  EXPECT_EQ(client.read_reply().body, "hello");
  EXPECT_EQ(client.read_reply().body, "hello");
  EXPECT_TRUE(client.ended());
}

TEST(HttpClients, WhatIsPipelinedWhileARequestRunsIsAnsweredAfterIt) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  RawClient client(server.port());
  client.send(get("/gated"));
  client.read_until("1\r\n1\r\n");
  for (int i = 0; i < 100; ++i) client.send(kHello);
  server.on_server([&] { return seen.open_gate(), 0; });
  EXPECT_EQ(client.read_until("0\r\n\r\n"), "1\r\n2\r\n0\r\n\r\n");
  for (int i = 0; i < 100; ++i) ASSERT_EQ(client.read_reply().body, "hello");
}

// More than the server reads ahead: nothing is lost, and the memory for it is bounded.
TEST(HttpClients, MuchIsPipelinedWhileARequestRuns) {
  Seen seen;
  HttpOptions options;
  options.limits.pipelined_bytes = 1000;
  TestServer server(options, testing::test_routes(seen));
  RawClient client(server.port());
  client.send(get("/gated"));
  client.read_until("1\r\n1\r\n");
  std::string all;
  for (int i = 0; i < 1000; ++i) all += kHello;
  client.send(all);
  server.on_server([&] { return seen.open_gate(), 0; });
  client.read_until("0\r\n\r\n");
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(client.read_reply().body, "hello");
  client.send(get("/wait"));
  ASSERT_TRUE(seen.begun.wait_for(2));
  client.send(all);  // the server stops reading; a reset is noticed all the same
  client.reset();
  EXPECT_TRUE(seen.gone.wait_for(1));
}

TEST(HttpClients, SlowHeadersAndBodiesTimeOut) {
  Seen seen;
  HttpOptions options;
  options.limits.header_timeout_ms = 50;
  options.limits.body_timeout_ms = 50;
  options.limits.idle_timeout_ms = 150;
  TestServer server(options, testing::test_routes(seen));
  RawClient no_head(server.port()), no_body(server.port()), idle(server.port());
  no_head.send("GET /hello HTTP/1.1\r\nHost");
  no_body.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab");
  for (RawClient* client : {&no_head, &no_body}) {
    const RawReply reply = client->read_reply();
    EXPECT_EQ(reply.status, 408);
    EXPECT_EQ(reply.headers.at("connection"), "close");
    EXPECT_TRUE(client->ended());
  }
  EXPECT_TRUE(idle.ended());  // without a word
  RawClient trickling(server.port());
  trickling.send("GET /hello HTTP/1.1\r\n");  // a byte now and then does not move the deadline
  pollfd answer{trickling.handle(), POLLIN, 0};
  int sent = 0;
  while (::poll(&answer, 1, 5) == 0 && sent < 2000) sent += trickling.send("a");
  EXPECT_EQ(trickling.read_reply().status, 408);
  EXPECT_LT(sent, 2000);
}

TEST(HttpClients, AClientThatReadsNothingIsDropped) {
  Seen seen;
  HttpOptions options;
  options.limits.write_timeout_ms = 50;
  TestServer server(options, testing::test_routes(seen));
  RawClient client(server.port(), 4096);
  client.send(get("/endless?bytes=100000"));
  RawClient other(server.port());
  other.send(kHello);
  EXPECT_EQ(other.read_reply().body, "hello");
  ASSERT_TRUE(seen.ended.wait_for(1));
  EXPECT_EQ(seen.gone.count(), 1);
}

TEST(HttpClients, MoreThanTheCapAreToldSo) {
  Seen seen;
  HttpOptions options;
  options.limits.max_connections = 3;
  TestServer server(options, testing::test_routes(seen));
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server.port()).send(kHello);
    ASSERT_EQ(clients.back().read_reply().status, 200);
  }
  const RawReply refused = ask(server.port(), kHello);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_TRUE(refused.headers.contains("x-request-id"));
  clients.clear();
  expect_no_connections(server);
  EXPECT_EQ(ask(server.port(), kHello).status, 200);
  EXPECT_EQ(server.counters().connections_refused, 1u);
}

TEST(HttpClients, BodiesOfAllTogetherAreBounded) {
  Seen seen;
  HttpOptions options;
  options.limits.all_bodies_bytes = 150'000;
  TestServer server(options, testing::test_routes(seen));
  const std::string head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
  RawClient first(server.port());
  first.send(head + std::string(99'999, 'a'));
  while (server.counters().bytes_received < head.size() + 99'999) std::this_thread::yield();
  EXPECT_EQ(ask(server.port(), head + std::string(100'000, 'b')).status, 503);
  first.send("a");
  EXPECT_EQ(first.read_reply().body.size(), 100'000u);
  EXPECT_EQ(ask(server.port(), head + std::string(100'000, 'b')).status, 200);
}

TEST(HttpClients, CutAtEveryByte) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (size_t at = 0; at < request.size(); ++at) {
    RawClient left(server.port());
    left.send(request.substr(0, at));
    left.half_close();
    EXPECT_EQ(left.read_to_end(), "") << at;
    RawClient slow(server.port());
    slow.send(request.substr(0, at));
    if (at % 2 == 0) server.on_server([] { return 0; });
    slow.send(request.substr(at));
    EXPECT_EQ(slow.read_reply().body, "abc") << at;
  }
  expect_no_connections(server);
}

TEST(HttpClients, RandomPiecesOfManyRequests) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 40; ++round) {
    std::string sent;
    std::vector<std::string> wanted;
    for (int i = 0; i < 10; ++i) {
      const std::string body(random() % 300, static_cast<char>('a' + i));
      const bool chunked = random() % 2 == 0 && !body.empty();
      sent += "POST /echo HTTP/1.1\r\nHost: h\r\n";
      sent += chunked ? fmt::format("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", body.size(),
                                    body)
                      : fmt::format("Content-Length: {}\r\n\r\n{}", body.size(), body);
      wanted.push_back(body);
    }
    RawClient client(server.port());
    for (size_t at = 0; at < sent.size();) {
      const size_t piece = 1 + random() % 100;
      client.send(sent.substr(at, piece));
      at += piece;
    }
    for (const std::string& body : wanted) ASSERT_EQ(client.read_reply().body, body);
  }
}

TEST(HttpClients, ManyIdleConnectionsLeaveTheOthersServed) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  std::vector<RawClient> idle;
  for (int i = 0; i < 2000; ++i) idle.emplace_back(server.port());
  EXPECT_EQ(ask(server.port(), kHello).body, "hello");
  while (server.counters().connections_open < 2000) std::this_thread::yield();
  for (RawClient& client : idle) client.send(kHello);
  for (RawClient& client : idle) ASSERT_EQ(client.read_reply().body, "hello");
  idle.clear();
  expect_no_connections(server);
}

}  // namespace
}  // namespace fastcache::server
