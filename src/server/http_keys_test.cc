// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "server/api_keys.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using testing::ask;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawReply;
using testing::Seen;
using testing::TestServer;

RawReply with_key(TestServer& server, const std::string& authorization,
                  const std::string& target = "/hello") {
  return ask(server.port(), "GET " + target + " HTTP/1.1\r\nHost: h\r\n" + authorization + "\r\n");
}

TEST(HttpKeys, OnlyTheKeysOpen) {
  Seen seen;
  HttpOptions options;
  options.keys = {"sk-first", "sk-second"};
  TestServer server(options, testing::test_routes(seen));
  EXPECT_EQ(with_key(server, "Authorization: Bearer sk-first\r\n").status, 200);
  EXPECT_EQ(with_key(server, "Authorization: bearer  sk-second \r\n").status, 200);
  for (const char* wrong :
       {"", "Authorization: Bearer\r\n", "Authorization: Bearer \r\n", "Authorization: sk-first\r\n",
        "Authorization: Bearer sk-\r\n", "Authorization: Bearer sk-firs\r\n",
        "Authorization: Bearer sk-first1\r\n", "Authorization: Bearer sk-first,sk-second\r\n",
        "Authorization: Basic sk-first\r\n", "Authorization: Bearer SK-FIRST\r\n",
        "Authorization: Bearer sk-first\r\nAuthorization: Bearer sk-first\r\n"}) {
    const RawReply reply = with_key(server, wrong);
    EXPECT_EQ(reply.status, 401) << wrong;
    EXPECT_EQ(reply.headers.at("www-authenticate"), "Bearer");
    EXPECT_THAT(reply.body, HasSubstr("authentication_error"));
    EXPECT_THAT(reply.body, Not(HasSubstr("sk-")));
  }
  EXPECT_EQ(with_key(server, "", "/open").status, 200);
  EXPECT_EQ(with_key(server, "", "/nothing").status, 404);
}

TEST(HttpKeys, ARefusedBodyIsNotRead) {
  Seen seen;
  HttpOptions options;
  options.keys = {"k"};
  TestServer server(options, testing::test_routes(seen));
  const RawReply reply =
      ask(server.port(), "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(reply.headers.at("connection"), "close");
}

TEST(HttpKeys, NewKeysCountAtOnce) {
  Seen seen;
  HttpOptions options;
  options.keys = {"old"};
  TestServer server(options, testing::test_routes(seen));
  testing::RawClient client(server.port());
  const auto status_with = [&](const std::string& key) {
    client.send("GET /hello HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + key + "\r\n\r\n");
    return client.read_reply().status;
  };
  EXPECT_EQ(status_with("old"), 200);
  const auto set_keys = [&](std::vector<std::string> keys) {
    server.http().set_keys(std::move(keys));
    server.on_server([] { return 0; });  // behind it: requests that come now meet the new keys
  };
  set_keys({"new"});
  EXPECT_EQ(status_with("old"), 401);
  EXPECT_EQ(status_with("new"), 200);
  set_keys({});  // an emptied key file does not open the server
  EXPECT_EQ(status_with("none"), 401);
  EXPECT_EQ(status_with("new"), 200);
}

class KeyFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    std::ofstream(path_) << text;
    return path_;
  }
  std::string refusal(const std::string& path) {
    try {
      read_key_file(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  const std::string path_ = ::testing::TempDir() + "/keys_" + std::to_string(::getpid());
};

TEST_F(KeyFile, OnePerLine) {
  EXPECT_EQ(read_key_file(write("# ours\nsk-1\n\n  sk-2 \r\n#sk-3\nsk-4")),
            (std::vector<std::string>{"sk-1", "sk-2", "sk-4"}));
}

TEST_F(KeyFile, WhatIsWrongIsSaidWithoutTheKey) {
  EXPECT_THAT(refusal(write("sk-1\nsecret key\n")),
              ::testing::AllOf(HasSubstr("line 2"), Not(HasSubstr("secret"))));
  EXPECT_THAT(refusal(write("k\xc3\xa4y\n")), HasSubstr("line 1"));
  EXPECT_THAT(refusal(write("# nothing\n")), HasSubstr("no key"));
  EXPECT_THAT(refusal("/no/such/file"), HasSubstr("/no/such/file"));
}

TEST(HttpCors, OnlyTheOriginsOfTheList) {
  Seen seen;
  HttpOptions options;
  options.cors_origins = {"https://a.example", "http://localhost:3000"};
  options.keys = {"k"};
  TestServer server(options, testing::test_routes(seen));
  const std::string ours = "Origin: https://a.example\r\n", other = "Origin: https://b.example\r\n";
  const RawReply allowed = with_key(server, ours, "/open");
  EXPECT_EQ(allowed.headers.at("access-control-allow-origin"), "https://a.example");
  EXPECT_EQ(allowed.headers.at("vary"), "Origin");
  EXPECT_EQ(with_key(server, ours).headers.at("access-control-allow-origin"),
            "https://a.example");  // 401 too
  EXPECT_FALSE(with_key(server, other, "/open").headers.contains("access-control-allow-origin"));
  EXPECT_EQ(with_key(server, other, "/open").headers.at("vary"), "Origin");
}

TEST(HttpCors, Preflight) {
  Seen seen;
  HttpOptions options;
  options.cors_origins = {"*"};
  options.keys = {"k"};
  TestServer server(options, testing::test_routes(seen));
  const RawReply reply = ask(server.port(),
                             "OPTIONS /echo HTTP/1.1\r\nHost: h\r\nOrigin: https://x.example\r\n"
                             "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(reply.status, 204);
  EXPECT_EQ(reply.headers.at("access-control-allow-origin"), "*");
  EXPECT_EQ(reply.headers.at("access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_THAT(reply.headers.at("access-control-allow-headers"), HasSubstr("Authorization"));
  EXPECT_EQ(ask(server.port(), "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").headers.at("allow"),
            "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(ask(server.port(), "OPTIONS /nothing HTTP/1.1\r\nHost: h\r\n\r\n").status, 404);
}

TEST(HttpCors, NoneByDefault) {
  Seen seen;
  TestServer server({}, testing::test_routes(seen));
  const RawReply reply = with_key(server, "Origin: https://a.example\r\n");
  EXPECT_FALSE(reply.headers.contains("access-control-allow-origin"));
  EXPECT_FALSE(reply.headers.contains("vary"));
}

}  // namespace
}  // namespace fastcache::server
