// SPDX-License-Identifier: Apache-2.0
#include "server/small_endpoints.h"

#include <gtest/gtest.h>

#include "server/json_field.h"
#include "server/testing/api_driver.h"
#include "server/testing/prometheus_reader.h"

namespace fastcache::server {
namespace {

using test_support::ApiDriver;

ApiDriver::Options options() {
  ApiDriver::Options options;
  options.api.model_name = "org/model";
  options.api.aliases = {"default"};
  options.api.more_metrics = [] { return "# HELP x y\n# TYPE x gauge\nx 1\n"; };
  return options;
}

class SmallEndpointsTest : public testing::Test {
 protected:
  Json call(const char* method, const char* path, const std::string& body, int status = 200) {
    const auto exchange = driver_.call(method, path, body);
    EXPECT_EQ(exchange->reply.status, status) << exchange->reply.body;
    return Json::parse(exchange->reply.body);
  }
  ApiDriver driver_{options()};
};

TEST_F(SmallEndpointsTest, ModelsAreListedByAllTheirNames) {
  const Json list = call("GET", "/v1/models", "");
  EXPECT_EQ(list.at("object"), "list");
  ASSERT_EQ(list.at("data").size(), 2u);
  EXPECT_EQ(list.at("data")[0], call("GET", "/v1/models/org/model", ""));
  EXPECT_EQ(list.at("data")[1], call("GET", "/v1/models/default", ""));
  EXPECT_EQ(list.at("data")[1].at("id"), "default");
  EXPECT_EQ(list.at("data")[1].at("root"), "org/model");
  EXPECT_EQ(list.at("data")[0].at("max_model_len"), 512);
}

TEST_F(SmallEndpointsTest, TextToTokensAndBack) {
  const Json with = call("POST", "/tokenize", R"({"model": "default", "prompt": "häh"})");
  const Json without = call("POST", "/tokenize", R"({"prompt": "häh", "add_special_tokens": false})");
  EXPECT_EQ(with.at("count"), with.at("tokens").size());
  EXPECT_EQ(with.at("max_model_len"), 512);
  EXPECT_EQ(with.at("count").get<int>(), without.at("count").get<int>() + 1);  // BOS
  const Json text = call("POST", "/detokenize", R"({"tokens": )" + without.at("tokens").dump() + "}");
  EXPECT_NE(text.at("prompt").get<std::string>().find("häh"), std::string::npos);
  const Json chat = call("POST", "/tokenize", R"({"messages": [{"role": "user", "content": "häh"}]})");
  EXPECT_GT(chat.at("count"), with.at("count"));
}

TEST_F(SmallEndpointsTest, WrongBodiesAreRefusedByName) {
  const auto param = [&](const char* path, const char* body, int status = 400) {
    return call("POST", path, body, status).at("error").at("param");
  };
  EXPECT_EQ(param("/tokenize", "{}"), "prompt");
  EXPECT_EQ(param("/tokenize", R"({"prompt": 5})"), "prompt");
  EXPECT_EQ(param("/tokenize", R"({"prompt": "x", "add_special_tokens": 1})"), "add_special_tokens");
  EXPECT_EQ(param("/tokenize", R"({"messages": [{}]})"), "messages[0].role");
  EXPECT_EQ(param("/detokenize", R"({"tokens": "x"})"), "tokens");
  EXPECT_EQ(param("/detokenize", R"({"tokens": [1, -1]})"), "tokens[1]");
  EXPECT_EQ(param("/detokenize", R"({"model": "x", "tokens": []})", 404), "model");
  EXPECT_EQ(call("POST", "/detokenize", R"({"tokens": [100000]})", 400).at("error").at("code"),
            "bad_request");
}

TEST_F(SmallEndpointsTest, HealthVersionAndMetrics) {
  EXPECT_EQ(call("GET", "/health", "").at("status"), "ok");
  EXPECT_EQ(call("GET", "/version", "").at("version"), FASTCACHE_VERSION);
  const auto metrics = driver_.call("GET", "/metrics", "");
  EXPECT_EQ(metrics->reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
  const auto families = test_support::read_prometheus(metrics->reply.body);
  EXPECT_EQ(test_support::value_of(families, "x", "x{}"), 1);
  double bytes = 0;
  for (const auto& [sample, value] : families.at("fastcache:kv_pool_bytes").samples) bytes += value;
  EXPECT_EQ(bytes, static_cast<double>(driver_.engine().stats().pool_bytes));
}

TEST_F(SmallEndpointsTest, OnlyHealthIsOpenToAll) {
  for (const Route& route : api_routes(driver_.api())) EXPECT_EQ(route.needs_key, route.path != "/health");
}

}  // namespace
}  // namespace fastcache::server
