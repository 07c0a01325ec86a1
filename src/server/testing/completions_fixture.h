// SPDX-License-Identifier: Apache-2.0
// Asks for completions, whole and streamed. For tests.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/json_field.h"
#include "server/testing/api_driver.h"
#include "server/testing/request_bodies.h"

namespace fastcache::server::test_support {

inline constexpr const char* kPaths[] = {"/v1/chat/completions", "/v1/completions"};
inline constexpr const char* kDraw = R"("seed": 11, "max_tokens": 24, "ignore_eos": true)";

inline const char* path_of(Endpoint endpoint) { return kPaths[endpoint == Endpoint::chat ? 0 : 1]; }

class CompletionsTest : public ::testing::Test {
 protected:
  explicit CompletionsTest(int context_length = 512)
      : driver_({.model = {.context_length = context_length, .seed = 5}}) {}

  Json whole(Endpoint endpoint, const std::string& fields, int status = 200) {
    const auto exchange = driver_.call("POST", path_of(endpoint), body_with(endpoint, fields));
    EXPECT_EQ(exchange->reply.status, status) << exchange->reply.body;
    EXPECT_EQ(exchange->reply.content_type, "application/json");
    return Json::parse(exchange->reply.body);
  }
  std::vector<Json> streamed(Endpoint endpoint, const std::string& fields) {
    const auto exchange =
        driver_.call("POST", path_of(endpoint), body_with(endpoint, fields + R"(,"stream":true)"));
    EXPECT_EQ(exchange->reply.status, 200) << exchange->reply.body;
    EXPECT_EQ(exchange->reply.content_type, "text/event-stream");
    EXPECT_TRUE(exchange->reply.ended);
    std::vector<std::string> events = events_of(exchange->reply.body);
    EXPECT_EQ(events.back(), "[DONE]");
    events.pop_back();
    std::vector<Json> chunks;
    for (const std::string& event : events) chunks.push_back(Json::parse(event));
    return chunks;
  }
  static std::string text_of(const Json& choice) {
    if (choice.contains("text")) return choice.at("text");
    const Json& part = choice.contains("delta") ? choice.at("delta") : choice.at("message");
    return part.value("content", "");
  }
  // Of one choice of a stream.
  static std::string joined(const std::vector<Json>& chunks, int index) {
    std::string text;
    for (const Json& chunk : chunks)
      for (const Json& choice : chunk.at("choices"))
        if (choice.at("index") == index) text += text_of(choice);
    return text;
  }

  ApiDriver driver_;
};

}  // namespace fastcache::server::test_support
