// SPDX-License-Identifier: Apache-2.0
// One client at a time: each status, each form of a request and of an answer.
#include "server/http_server.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using nlohmann::json;
using testing::ask;
using ::testing::HasSubstr;
using testing::RawClient;
using testing::RawReply;

class HttpServerTest : public ::testing::Test {
 protected:
  static HttpOptions options() {
    HttpOptions options;
    options.limits.body_bytes = 100'000;
    return options;
  }
  RawReply get(const std::string& target, const std::string& fields = "") {
    return ask(server_.port(), "GET " + target + " HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n");
  }

  testing::Seen seen_;
  testing::TestServer server_{options(), testing::test_routes(seen_)};
};

// Each error is the OpenAI object and carries a request id.
void expect_error(const RawReply& reply, int status) {
  EXPECT_EQ(reply.status, status) << reply.body;
  EXPECT_TRUE(reply.whole);
  EXPECT_TRUE(reply.headers.contains("x-request-id"));
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  const json body = json::parse(reply.body, nullptr, false);
  ASSERT_TRUE(body.contains("error")) << reply.body;
  EXPECT_TRUE(body["error"]["message"].is_string());
  EXPECT_TRUE(body["error"]["type"].is_string());
  EXPECT_TRUE(body["error"].contains("param") && body["error"].contains("code"));
}

TEST_F(HttpServerTest, AnswersAndStreams) {
  const RawReply hello = get("/hello");
  EXPECT_EQ(hello.status, 200);
  EXPECT_EQ(hello.body, "hello");
  EXPECT_EQ(hello.headers.at("content-type"), "text/plain");
  EXPECT_THAT(hello.headers.at("date"), HasSubstr(" GMT"));
  const RawReply stream = get("/stream?n=5");
  EXPECT_EQ(stream.headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(stream.body, "0\n1\n2\n3\n4\n");
  EXPECT_TRUE(stream.whole);
}

TEST_F(HttpServerTest, TheHandlerSeesTheRequest) {
  const RawReply reply =
      ask(server_.port(),
          "POST /what?a=b%20c HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nX-two: 2\r\nContent-Length: 4\r\n\r\nbody");
  EXPECT_EQ(reply.body, "POST /what\n?a=b c\ncontent-length: 4\nhost: h\nx-two: 1, 2\nbody");
}

TEST_F(HttpServerTest, AConnectionCarriesManyRequests) {
  RawClient client(server_.port());
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(
        client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n" + std::to_string(10 + i)));
    EXPECT_EQ(client.read_reply().body, std::to_string(10 + i));
    ASSERT_TRUE(client.send("GET /stream HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_EQ(client.read_reply().body, "0\n1\n2\n");
    ASSERT_TRUE(client.send("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"));
    EXPECT_EQ(client.read_reply().status, 404);
  }
  EXPECT_EQ(server_.counters().connections_accepted, 1u);
}

TEST_F(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  RawClient client(server_.port());
  std::string all;
  for (int i = 0; i < 1000; ++i)
    all += "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n" + std::to_string(1000 + i);
  ASSERT_TRUE(client.send(all + "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"));
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(client.read_reply().body, std::to_string(1000 + i));
  EXPECT_EQ(client.read_reply().headers.at("connection"), "close");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  RawClient client(server_.port());
  client.send(
      "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: h\r\n\r\nHEAD /no "
      "HTTP/1.1\r\nHost: h\r\n\r\n");
  client.send("GET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.read_reply(true).headers.at("content-length"), "5");
  EXPECT_EQ(client.read_reply(true).headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(client.read_reply(true).status, 404);
  EXPECT_EQ(client.read_reply().body, "hello");
}

TEST_F(HttpServerTest, OldClients) {
  const RawReply once = ask(server_.port(), "GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(once.body, "hello");
  EXPECT_EQ(once.headers.at("connection"), "close");
  const RawReply stream = ask(server_.port(), "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(stream.body, "0\n1\n2\n");
  EXPECT_FALSE(stream.headers.contains("transfer-encoding"));
  EXPECT_EQ(stream.headers.at("connection"), "close");
  RawClient client(server_.port());
  client.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(client.read_reply().headers.at("connection"), "keep-alive");
  client.send("GET /hello HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.read_reply().body, "hello");
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, ExpectContinue) {
  RawClient client(server_.port());
  const std::string head = "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: ";
  client.send(head + "3\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 100);
  client.send("abc");
  EXPECT_EQ(client.read_reply().body, "abc");
  client.send(head + "100001\r\n\r\n");
  expect_error(client.read_reply(), 413);  // before the body is sent
  EXPECT_TRUE(client.ended());
}

TEST_F(HttpServerTest, EachRefusalHasItsStatus) {
  const auto answer = [&](const std::string& request) { return ask(server_.port(), request); };
  const std::string host = " HTTP/1.1\r\nHost: h\r\n";
  expect_error(answer("nonsense\r\n\r\n"), 400);
  expect_error(answer("GET /hello HTTP/1.1\r\n\r\n"), 400);
  expect_error(answer("GET /%zz" + host + "\r\n"), 400);
  expect_error(answer("GET /nothing" + host + "\r\n"), 404);
  expect_error(answer("GET /\xff\xfe" + host + "\r\n"), 404);
  expect_error(answer("DELETE /what" + host + "\r\n"), 405);
  EXPECT_EQ(answer("DELETE /what" + host + "\r\n").headers.at("allow"), "GET, HEAD, POST, OPTIONS");
  expect_error(answer("POST /echo" + host + "Content-Length: 100001\r\n\r\n"), 413);
  expect_error(answer("GET /" + std::string(10'000, 'a') + host + "\r\n"), 414);
  expect_error(answer("POST /echo" + host + "Expect: more\r\n\r\n"), 417);
  expect_error(answer("GET /hello" + host + "A: " + std::string(20'000, 'a') + "\r\n\r\n"), 431);
  expect_error(answer("POST /echo" + host + "Transfer-Encoding: br\r\n\r\n"), 501);
  expect_error(answer("GET /hello HTTP/2.0\r\nHost: h\r\n\r\n"), 505);
  expect_error(answer("POST /echo" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

TEST_F(HttpServerTest, BodiesAtTheLimitAndOneOver) {
  const std::string host = "POST /echo HTTP/1.1\r\nHost: h\r\n";
  const std::string body(100'000, 'x');
  EXPECT_EQ(ask(server_.port(), host + "Content-Length: 100000\r\n\r\n" + body).body, body);
  expect_error(ask(server_.port(), host + "Content-Length: 100001\r\n\r\n" + body + "x"), 413);
  const std::string chunked = host + "Transfer-Encoding: chunked\r\n\r\nc350\r\n" + body.substr(0, 50'000) +
                              "\r\nc350\r\n" + body.substr(0, 50'000) + "\r\n";
  EXPECT_EQ(ask(server_.port(), chunked + "0\r\n\r\n").body, body);
  expect_error(ask(server_.port(), chunked + "1\r\nx\r\n0\r\n\r\n"), 413);
}

TEST_F(HttpServerTest, WhatHandlersThrow) {
  expect_error(get("/error?code=bad_request"), 400);
  expect_error(get("/error?code=not_found"), 404);
  const RawReply full = get("/error?code=overloaded");
  expect_error(full, 429);
  EXPECT_EQ(full.headers.at("retry-after"), "1");
  EXPECT_EQ(json::parse(full.body)["error"]["message"], "as the test asked");
  const RawReply broken = get("/error?code=other");
  expect_error(broken, 500);
  EXPECT_THAT(broken.body, ::testing::Not(HasSubstr("secret")));
  expect_error(get("/silent"), 500);
  RawClient client(server_.port());  // and the connection goes on
  client.send("GET /error?code=other HTTP/1.1\r\nHost: h\r\n\r\nGET /hello HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 500);
  EXPECT_EQ(client.read_reply().body, "hello");
}

TEST_F(HttpServerTest, AStreamThatFailsIsCut) {
  const RawReply reply = get("/cut");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "begun");
  EXPECT_FALSE(reply.whole);
}

TEST_F(HttpServerTest, RequestIds) {
  EXPECT_EQ(get("/hello", "X-Request-Id: mine-1\r\n").headers.at("x-request-id"), "mine-1");
  const std::string made = get("/hello").headers.at("x-request-id");
  EXPECT_THAT(made, ::testing::MatchesRegex("req-[0-9a-f]+"));
  EXPECT_NE(get("/hello").headers.at("x-request-id"), made);
  for (const std::string& bad : {std::string("a b"), std::string("<script>"), std::string(129, 'a')}) {
    EXPECT_THAT(get("/hello", "X-Request-Id: " + bad + "\r\n").headers.at("x-request-id"),
                ::testing::StartsWith("req-"));
  }
}

TEST_F(HttpServerTest, Counters) {
  get("/hello");
  get("/nothing");
  get("/error?code=other");
  const HttpCounters counters = server_.counters();
  EXPECT_EQ(counters.connections_accepted, 3u);
  EXPECT_EQ(counters.responses_by_class[2], 1u);
  EXPECT_EQ(counters.responses_by_class[4], 1u);
  EXPECT_EQ(counters.responses_by_class[5], 1u);
  EXPECT_EQ(counters.errors, (std::map<std::string, uint64_t>{{"not_found", 1}, {"internal", 1}}));
  EXPECT_GT(counters.bytes_sent, 300u);
}

TEST(HttpServerOptions, WhatCannotBeMeantIsRefused) {
  const auto code_of = [](HttpOptions options) {
    try {
      HttpServer server(std::move(options));
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  HttpOptions everywhere;
  everywhere.host = "0.0.0.0";
  EXPECT_THAT(code_of(everywhere), HasSubstr("give an API key"));
  everywhere.keys = {"k"};
  EXPECT_EQ(code_of(everywhere), "accepted");
  everywhere.keys = {};
  everywhere.open_without_key = true;
  EXPECT_EQ(code_of(everywhere), "accepted");
  HttpOptions options;
  options.host = "no.such.host.invalid";
  EXPECT_THAT(code_of(options), HasSubstr("no.such.host.invalid"));
  options = {};
  options.port = 70000;
  EXPECT_THAT(code_of(options), HasSubstr("70000"));
  options = {};
  options.tls_chain_file = "/no/such/file";
  EXPECT_THAT(code_of(options), HasSubstr("both"));
  options.tls_key_file = "/no/such/key";
  EXPECT_THAT(code_of(options), HasSubstr("/no/such/file"));
  options = {};
  options.cors_origins = {"example.org"};
  EXPECT_THAT(code_of(options), HasSubstr("example.org"));
  HttpServer first{HttpOptions{}};
  options = {};
  options.port = first.port();
  EXPECT_THAT(code_of(options), HasSubstr(std::to_string(first.port())));
}

}  // namespace
}  // namespace fastcache::server
