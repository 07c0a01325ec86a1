// SPDX-License-Identifier: Apache-2.0
// Clients that leave, do not read, or send what they may not; nobody else notices and nothing stays behind.
#include "server/completions.h"

#include <gtest/gtest.h>

#include "server/json_field.h"
#include "server/testing/api_driver.h"
#include "server/testing/prometheus_reader.h"
#include "server/testing/request_bodies.h"

namespace fastcache::server {
namespace {

using test_support::ApiDriver;
using test_support::body_with;
using test_support::FakeReply;

constexpr const char* kChat = "/v1/chat/completions";

std::string endless(const std::string& fields) {
  return body_with(Endpoint::chat, R"("max_tokens": 400, "ignore_eos": true, "seed": 1)" + fields);
}

// On a busy machine tokens pile up and go out together: a stream may then end before its client leaves.
TEST(ClientLeaves, AtEveryPieceOfAStream) {
  ApiDriver driver({.model = {.context_length = 4096, .seed = 5}});
  const std::string body =
      body_with(Endpoint::chat, R"("max_tokens": 3000, "ignore_eos": true, "stream": true, "n": 2)");
  for (int at = 0; at < 25; ++at) {
    bool left = false;
    for (int attempt = 0; attempt < 20 && !left; ++attempt) {
      const auto exchange =
          driver.call("POST", kChat, body, [&](FakeReply& reply) { reply.leave_at_write = at; });
      left = exchange->client_gone;
      EXPECT_NE(exchange->reply.ended, left);
      EXPECT_TRUE(driver.becomes_idle()) << at;
    }
    EXPECT_TRUE(left) << at;
  }
  const auto families = test_support::read_prometheus(driver.call("GET", "/metrics", "")->reply.body);
  const double aborted = test_support::value_of(
      families, "fastcache:request_success_total",
      "fastcache:request_success_total{finished_reason=\"abort\",model_name=\"tiny\"}");
  EXPECT_GT(aborted, 0);
  EXPECT_LE(aborted, 50);
}

TEST(ClientLeaves, BeforeTheAnswerBegan) {
  ApiDriver driver;
  for (const char* stream : {"", R"(, "stream": true)"}) {
    const auto exchange =
        driver.call("POST", kChat, endless(stream), [](FakeReply& reply) { reply.gone_from_start = true; });
    EXPECT_TRUE(exchange->client_gone);
    EXPECT_TRUE(driver.becomes_idle());
  }
}

TEST(ClientLeaves, WhileAWholeAnswerIsMade) {
  ApiDriver driver({.model = {.context_length = 4096, .seed = 5}});
  const std::string body = body_with(Endpoint::chat, R"("max_tokens": 3000, "ignore_eos": true)");
  bool left = false;
  for (int attempt = 0; attempt < 20 && !left; ++attempt) {  // the answer may be ready before it is looked at
    const auto exchange = driver.start("POST", kChat, body);
    driver.run([&] {
      driver.io().post([] {});  // so that this is asked again
      return exchange->done || driver.engine().stats().running > 0;
    });
    exchange->reply.leave();
    driver.run([&] { return exchange->done; });
    left = exchange->client_gone;
    EXPECT_TRUE(driver.becomes_idle());
  }
  EXPECT_TRUE(left);
}

TEST(ClientsThatDoNotRead, HoldNobodyElseUp) {
  ApiDriver driver;
  const auto slow = driver.start("POST", kChat, endless(R"(, "stream": true)"),
                                 [](FakeReply& reply) { reply.reads = false; });
  const auto quick = driver.call("POST", kChat, endless(R"(, "stream": true)"));
  EXPECT_TRUE(quick->reply.ended);
  EXPECT_FALSE(slow->done);
  slow->reply.read_on();
  driver.run([&] { return slow->done; });
  std::string texts[2];
  for (const auto& [exchange, text] : {std::pair{slow, &texts[0]}, std::pair{quick, &texts[1]}}) {
    for (const std::string& event : test_support::events_of(exchange->reply.body)) {
      if (event == "[DONE]") continue;
      *text += Json::parse(event).at("choices")[0].at("delta").value("content", "");
    }
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_LT(slow->reply.writes.size(), 4u);  // what was ready meanwhile went out at once
}

TEST(WrongFields, NeverBecomeAFaultOfTheServer) {
  ApiDriver driver;
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    for (const std::string& name : known_fields(endpoint)) {
      for (const std::string& value : test_support::json_of_each_type()) {
        const std::string body =
            body_with(endpoint, R"("max_tokens": 1, "deadline_ms": 10000, ")" + name + "\":" + value);
        const auto exchange = driver.call("POST", endpoint == Endpoint::chat ? kChat : "/v1/completions",
                                          body, [](FakeReply& reply) { reply.leave_at_write = 3; });
        if (exchange->client_gone) continue;
        const int status = exchange->reply.status;
        EXPECT_TRUE(status == 200 || status == 400 || status == 404 || status == 408)
            << status << " " << name << ": " << value.substr(0, 60) << " " << exchange->reply.body;
      }
    }
  }
  EXPECT_TRUE(driver.becomes_idle());
}

}  // namespace
}  // namespace fastcache::server
