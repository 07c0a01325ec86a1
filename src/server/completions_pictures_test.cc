// SPDX-License-Identifier: Apache-2.0
// Pictures in chats, from the request's JSON to the answer of a tiny model with a tiny vision encoder.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/post.hpp>

#include <thread>

#include "image/testing/encoders.h"
#include "server/json_field.h"
#include "server/testing/api_driver.h"
#include "server/testing/picture_urls.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using test_support::ApiDriver;
using test_support::data_url;
using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";
constexpr int kPictureTokens = 16;  // of the tiny encoder: 32 x 32 pixels in patches of 8

Picture picture(uint64_t seed) { return image::test_support::random_picture(40, 32, seed); }

std::string png_url(uint64_t seed) { return data_url(image::test_support::encode_png(picture(seed))); }

std::string body_of(const std::vector<std::string>& urls, const std::string& more = "") {
  std::string parts;
  for (const std::string& url : urls)
    parts += R"({"type": "image_url", "image_url": {"url": ")" + url + R"("}}, )";
  return R"({"messages": [{"role": "user", "content": [)" + parts +
         R"({"type": "text", "text": "what is this?"}]}], "max_tokens": 8, "ignore_eos": true, "seed": 3,
            "logprobs": true)" +
         more + "}";
}

ApiDriver::Options with_vision(const ImageOptions& images = {}) {
  ApiDriver::Options options;
  options.api.images = images;
  options.mmproj = model::test_support::TinyMmproj{};
  return options;
}

ImageOptions asking(const std::string& host) {
  ImageOptions images;
  images.remote_hosts.push_back(host);
  return images;
}

Json reply_to(ApiDriver& driver, const std::string& body, int status = 200) {
  const auto exchange = driver.call("POST", kChat, body);
  EXPECT_EQ(exchange->reply.status, status) << exchange->reply.body;
  return Json::parse(exchange->reply.body);
}

void expect_refused(ApiDriver& driver, const std::string& body, const char* sentence,
                    const std::string& param) {
  const Json error = reply_to(driver, body, 400).at("error");
  EXPECT_THAT(error.at("message").get<std::string>(), HasSubstr(sentence));
  EXPECT_EQ(error.at("param"), param);
}

const std::string kFirst = "messages[0].content[0].image_url.url";

TEST(CompletionsPictures, AModelWithoutVisionSaysSo) {
  ApiDriver driver;
  expect_refused(driver, body_of({png_url(1)}), "this model has no vision", kFirst);
  expect_refused(driver, body_of({"https://example.org/a.png"}), "this model has no vision", kFirst);
  EXPECT_THAT(driver.call("GET", "/v1/models", "")->reply.body, HasSubstr(R"("input_modalities":["text"])"));
}

TEST(CompletionsPictures, WhatIsSeenCounts) {
  ApiDriver driver(with_vision());
  EXPECT_THAT(driver.call("GET", "/v1/models", "")->reply.body,
              HasSubstr(R"("input_modalities":["text","image"])"));
  const Json none = reply_to(driver, body_of({}));
  const Json one = reply_to(driver, body_of({png_url(1)}));
  const Json again = reply_to(driver, body_of({png_url(1)}));
  const Json other = reply_to(driver, body_of({png_url(2)}));
  const auto logprobs = [](const Json& reply) { return reply.at("choices")[0].at("logprobs"); };
  EXPECT_EQ(logprobs(one), logprobs(again));
  EXPECT_NE(logprobs(one), logprobs(other));
  const auto prompt_tokens = [](const Json& reply) {
    return reply.at("usage").at("prompt_tokens").get<int>();
  };
  EXPECT_GE(prompt_tokens(one), prompt_tokens(none) + kPictureTokens);
  EXPECT_EQ(
      prompt_tokens(reply_to(driver, body_of({png_url(1), png_url(2), png_url(3)}))) - prompt_tokens(one),
      2 * kPictureTokens);
}

TEST(CompletionsPictures, TheFormatDoesNotCount) {
  ApiDriver driver(with_vision());
  const std::string webp = data_url(image::test_support::encode_webp(picture(1)), "image/jpeg");
  EXPECT_EQ(reply_to(driver, body_of({png_url(1)})).at("choices"),
            reply_to(driver, body_of({webp})).at("choices"));
}

TEST(CompletionsPictures, Streamed) {
  ApiDriver driver(with_vision());
  const auto exchange = driver.call("POST", kChat, body_of({png_url(1)}, R"(, "stream": true)"));
  EXPECT_EQ(exchange->reply.status, 200);
  EXPECT_TRUE(exchange->reply.ended);
  EXPECT_EQ(test_support::events_of(exchange->reply.body).back(), "[DONE]");
}

TEST(CompletionsPictures, RefusalsNameTheField) {
  ApiDriver driver(with_vision({.max_pictures = 2}));
  const std::string second = "messages[0].content[1].image_url.url";
  expect_refused(driver, body_of({png_url(1), "data:image/png;base64,AAAA"}), "of no known format", second);
  expect_refused(driver, body_of({png_url(1), "https://example.org/a.png"}), "--allow-remote-images", second);
  expect_refused(driver, body_of({png_url(1), "/etc/passwd"}), "--allow-local-images", second);
  expect_refused(driver, body_of({png_url(1), png_url(1), png_url(1)}), "at most 2",
                 "messages[0].content[2].image_url.url");
  EXPECT_TRUE(driver.becomes_idle());
}

TEST(CompletionsPictures, FetchedFromAHostAndLeftWithTheClient) {
  testing::Seen seen;
  std::vector<Route> routes = testing::test_routes(seen);
  const auto file = image::test_support::encode_png(picture(1));
  routes.push_back(
      {.method = "GET", .path = "/a.png", .handler = [&file](const HttpRequest&, HttpReply& reply) {
         return reply.send(200, "image/png", std::string(file.begin(), file.end()), {});
       }});
  testing::TestServer host({}, routes);
  const std::string authority = "localhost:" + std::to_string(host.port());
  ApiDriver::Options options = with_vision(asking(authority));
  options.api.image_seams.may_ask = [](const boost::asio::ip::address&) { return true; };
  ApiDriver driver(options);
  EXPECT_EQ(reply_to(driver, body_of({"http://" + authority + "/a.png"})).at("choices"),
            reply_to(driver, body_of({png_url(1)})).at("choices"));

  const auto waiting = driver.start("POST", kChat, body_of({"http://" + authority + "/wait"}));
  std::thread client([&] {
    EXPECT_TRUE(seen.begun.wait_for(1));
    boost::asio::post(driver.io(), [&] { waiting->reply.leave(); });
  });
  driver.run([&] { return waiting->done; });
  client.join();
  EXPECT_TRUE(waiting->client_gone);
  EXPECT_TRUE(seen.gone.wait_for(1));
  EXPECT_TRUE(driver.becomes_idle());
}

TEST(CompletionsPictures, TheServersOwnAddressIsNotAskedWhateverIsAllowed) {
  testing::Seen seen;
  testing::TestServer host({}, testing::test_routes(seen));
  const std::string authority = "localhost:" + std::to_string(host.port());
  ApiDriver driver(with_vision(asking(authority)));
  expect_refused(driver, body_of({"http://" + authority + "/hello"}), "has no public address", kFirst);
}

TEST(CompletionsPictures, HaveNoTokenIds) {
  ApiDriver driver(with_vision());
  EXPECT_EQ(driver.call("POST", "/tokenize", body_of({png_url(1)}))->reply.status, 400);
}

}  // namespace
}  // namespace fastcache::server
