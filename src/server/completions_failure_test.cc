// SPDX-License-Identifier: Apache-2.0
// What ends an answer before its time, once a part of it has gone out.
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
using test_support::events_of;

constexpr const char* kPath = "/v1/completions";
constexpr int kDamaged = 300;

// Its first token is the one that the model cannot read.
std::string doomed(const std::string& more) {
  return body_with(Endpoint::completions,
                   R"("max_tokens": 8, "ignore_eos": true, "logit_bias": {"300": 100})" + more);
}

ApiDriver::Options with_damaged_model() {
  return {.model = {.context_length = 512, .tied = false, .damaged_token = kDamaged, .seed = 5}};
}

double errors_counted(ApiDriver& driver) {
  const auto families = test_support::read_prometheus(driver.call("GET", "/metrics", "")->reply.body);
  return test_support::value_of(families, "fastcache:errors_total",
                                "fastcache:errors_total{code=\"invalid_model\",model_name=\"tiny\"}");
}

// Also where the server hears of a token and of the failure at once, as a slow one does.
TEST(FailsInItsStream, TheTextThatCameThenAnErrorEventAndTheEnd) {
  ApiDriver driver(with_damaged_model());
  const auto exchange = driver.call("POST", kPath, doomed(R"(, "stream": true)"));
  ASSERT_EQ(exchange->reply.status, 200);
  EXPECT_TRUE(exchange->reply.ended);
  const std::vector<std::string> events = events_of(exchange->reply.body);
  ASSERT_GE(events.size(), 3u) << exchange->reply.body;
  EXPECT_EQ(events.back(), "[DONE]");
  EXPECT_FALSE(Json::parse(events.front()).at("choices").at(0).at("text").get<std::string>().empty());
  const Json error = Json::parse(events[events.size() - 2]).at("error");
  EXPECT_EQ(error.at("code"), "invalid_model");
  EXPECT_NE(error.at("message").get<std::string>().find("not finite"), std::string::npos);
  EXPECT_TRUE(driver.becomes_idle());
  EXPECT_EQ(errors_counted(driver), 1);
}

TEST(FailsInItsStream, WholeAnswersBecomeErrors) {
  ApiDriver driver(with_damaged_model());
  const auto exchange = driver.call("POST", kPath, doomed(""));
  EXPECT_EQ(exchange->reply.status, 500);
  EXPECT_EQ(Json::parse(exchange->reply.body).at("error").at("code"), "invalid_model");
  EXPECT_TRUE(driver.becomes_idle());
}

TEST(FailsInItsStream, OthersInTheBatchAreUnharmed) {
  ApiDriver driver(with_damaged_model());
  const std::string body =
      body_with(Endpoint::completions, R"("max_tokens": 100, "temperature": 0, "ignore_eos": true)");
  const std::string alone = Json::parse(driver.call("POST", kPath, body)->reply.body).at("choices").dump();
  const auto other = driver.start("POST", kPath, body);
  for (int i = 0; i < 5; ++i) driver.call("POST", kPath, doomed(R"(, "stream": true)"));
  driver.run([&] { return other->done; });
  EXPECT_EQ(Json::parse(other->reply.body).at("choices").dump(), alone);
}

// The deadline may pass too early on a busy machine: then the answer is 408, and it is tried again.
TEST(Deadline, BehindTheFirstTokenKeepsWhatCame) {
  ApiDriver driver({.model = {.context_length = 4096, .seed = 5}});
  bool came = false;
  for (int deadline_ms = 40; deadline_ms < 20'000 && !came; deadline_ms *= 2) {
    const auto exchange = driver.call(
        "POST", kPath,
        body_with(Endpoint::completions, R"("max_tokens": 4000, "ignore_eos": true, "deadline_ms": )" +
                                             std::to_string(deadline_ms)));
    EXPECT_TRUE(driver.becomes_idle());
    if (exchange->reply.status == 408) continue;
    ASSERT_EQ(exchange->reply.status, 200) << exchange->reply.body;
    const Json answer = Json::parse(exchange->reply.body);
    EXPECT_EQ(answer.at("choices").at(0).at("finish_reason"), "length");
    ASSERT_EQ(answer.at("fastcache").at("finish"), "deadline");
    EXPECT_GE(answer.at("usage").at("completion_tokens"), 1);
    EXPECT_LT(answer.at("usage").at("completion_tokens"), 4000);
    came = true;
  }
  EXPECT_TRUE(came);
}

}  // namespace
}  // namespace fastcache::server
