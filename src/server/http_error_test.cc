// SPDX-License-Identifier: Apache-2.0
#include "server/http_error.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include <random>

#include "base/test_seed.h"

namespace fastcache::server {
namespace {

using nlohmann::json;

TEST(HttpError, TheObjectIsThatOfTheOpenAiApi) {
  const std::string text = to_json({400, "n must be 1", "invalid_request_error", "n", ""});
  EXPECT_EQ(json::parse(text), (json{{"error",
                                      {{"message", "n must be 1"},
                                       {"type", "invalid_request_error"},
                                       {"param", "n"},
                                       {"code", nullptr}}}}));
}

TEST(HttpError, AnyBytesMakeValidJson) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 40, ' ');
    for (char& c : bytes) c = static_cast<char>(random());
    const std::string text = to_json({400, bytes, bytes, bytes, bytes});
    ASSERT_TRUE(json::accept(text)) << text;
  }
}

TEST(HttpError, AnErrorKeepsItsStatusAndName) {
  const HttpFault full = fault_of(Error{Code::overloaded, "the queue is full"});
  EXPECT_EQ(full.status, 429);
  EXPECT_THAT(full.headers, testing::Contains(testing::Pair("Retry-After", "1")));
  EXPECT_EQ(error_body(full).code, "overloaded");
  EXPECT_EQ(error_body(full).type, "rate_limit_error");
  EXPECT_EQ(error_body(full).message, "the queue is full");
  EXPECT_EQ(error_body({404, "nothing there", {}, ""}).code, "not_found");
  EXPECT_EQ(error_body({503, "later", {}, ""}).type, "server_error");
}

}  // namespace
}  // namespace fastcache::server
