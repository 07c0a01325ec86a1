// SPDX-License-Identifier: Apache-2.0
#include "bench/http_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <stdexcept>

#include "bench/testing/http_load_testing.h"

namespace fastcache::bench {
namespace {

using test_support::Gate;
using test_support::ReceivedCall;
using test_support::ScriptedReply;
using test_support::ScriptedServer;
using ::testing::HasSubstr;

HttpCalls calls_on(const ScriptedServer& server, int n, int concurrency, std::map<int, HttpReply>& replies) {
  return {.server = {.url = parse_load_url(server.url()), .api_key = "secret", .timeout_s = 20},
          .path = "/x",
          .n = n,
          .concurrency = concurrency,
          .body = [](int i) { return std::optional(std::to_string(i)); },
          .on_reply = [&replies](int i, HttpReply reply) { replies[i] = std::move(reply); },
          .go_on = {}};
}

TEST(HttpCalls, EachGetsItsOwnReply) {
  std::atomic<int> keys = 0;
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    keys += call.headers.at("authorization") == "Bearer secret" ? 1 : 0;
    reply.answer(200, "reply to " + call.body);
  });
  for (const int concurrency : {1, 3, 50}) {
    std::map<int, HttpReply> replies;
    keys = 0;
    run_http_calls(calls_on(server, 20, concurrency, replies));
    ASSERT_EQ(replies.size(), 20u);
    for (const auto& [i, reply] : replies) {
      EXPECT_EQ(reply.body, "reply to " + std::to_string(i));
      EXPECT_EQ(reply.error, "");
    }
    EXPECT_EQ(keys, 20);
  }
}

TEST(HttpCalls, SoManyAreInFlightAndNoMore) {
  Gate gate;
  std::atomic<int> now = 0, most = 0;
  const ScriptedServer server([&](const ReceivedCall&, ScriptedReply& reply) {
    const int n = ++now;
    for (int seen = most; seen < n && !most.compare_exchange_weak(seen, n);) continue;
    if (n == 4) gate.open();
    gate.wait();  // until four are here
    --now;
    reply.answer(200, "x");
  });
  std::map<int, HttpReply> replies;
  run_http_calls(calls_on(server, 30, 4, replies));
  EXPECT_EQ(replies.size(), 30u);
  EXPECT_EQ(most, 4);
  EXPECT_EQ(server.connections(), 4);
}

TEST(HttpCalls, WhatGoesWrongIsTheReplys) {
  const ScriptedServer server([](const ReceivedCall& call, ScriptedReply& reply) {
    if (call.body == "1") return reply.answer(400, R"({"error": {"message": "too many pictures"}})");
    if (call.body == "2") return reply.hang_up();
    reply.answer(200, "x");
  });
  std::map<int, HttpReply> replies;
  HttpCalls calls = calls_on(server, 5, 2, replies);
  calls.body = [](int i) { return i == 3 ? std::nullopt : std::optional(std::to_string(i)); };
  run_http_calls(calls);
  EXPECT_EQ(replies.size(), 4u);  // 3 was not sent
  EXPECT_EQ(replies[1].error, "HTTP 400: too many pictures");
  EXPECT_NE(replies[2].error, "");
  EXPECT_EQ(replies[4].error, "");
}

TEST(HttpCalls, StoppedItEndsAtOnce) {
  Gate gate;
  const ScriptedServer server([&](const ReceivedCall& call, ScriptedReply& reply) {
    if (call.body != "0") gate.wait();
    reply.answer(200, "x");
  });
  std::map<int, HttpReply> replies;
  HttpCalls calls = calls_on(server, 5, 2, replies);
  calls.go_on = [&] { return replies.empty(); };
  run_http_calls(calls);
  EXPECT_EQ(replies.size(), 1u);
  gate.open();
}

TEST(HttpCalls, NoneAndFaultsOfTheCaller) {
  const ScriptedServer server([](const ReceivedCall&, ScriptedReply& reply) { reply.answer(200, "x"); });
  std::map<int, HttpReply> replies;
  run_http_calls(calls_on(server, 0, 3, replies));
  EXPECT_TRUE(replies.empty());
  HttpCalls calls = calls_on(server, 3, 2, replies);
  calls.on_reply = [](int, const HttpReply&) { throw std::runtime_error("a fault"); };
  EXPECT_THROW(run_http_calls(calls), std::runtime_error);
}

}  // namespace
}  // namespace fastcache::bench
