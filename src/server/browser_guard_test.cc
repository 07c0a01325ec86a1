// SPDX-License-Identifier: Apache-2.0
#include "server/browser_guard.h"

#include <gmock/gmock.h>

#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"

namespace fastcache::server {
namespace {

using ::testing::HasSubstr;

TEST(BrowserGuard, OwnHosts) {
  for (const char* own : {"localhost", "localhost:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "[::1]",
                          "192.168.0.7:1", "chat.localhost:80", "box.lan:8080", "box.lan"})
    EXPECT_TRUE(is_own_host(own, "box.lan")) << own;
  for (const char* foreign : {"", ":80", "example.org", "example.org:8080", "127.0.0.1.example.org", "[",
                              "[]", "localhost.example.org", "xlocalhost", "lan"})
    EXPECT_FALSE(is_own_host(foreign, "box.lan")) << foreign;
}

TEST(BrowserGuard, OwnPagesAndAllowedSitesMayAsk) {
  const Cors none, one({"https://example.org"}), all({"*"});
  EXPECT_TRUE(may_ask(none, "", "anything", ""));
  EXPECT_TRUE(may_ask(none, "http://127.0.0.1:8080", "127.0.0.1:8080", ""));
  EXPECT_TRUE(may_ask(one, "https://example.org", "127.0.0.1:8080", ""));
  EXPECT_TRUE(may_ask(all, "null", "127.0.0.1:8080", ""));
  EXPECT_FALSE(may_ask(none, "null", "127.0.0.1:8080", ""));
  EXPECT_FALSE(may_ask(none, "http://example.org", "127.0.0.1:8080", ""));
  EXPECT_FALSE(may_ask(one, "http://example.org", "127.0.0.1:8080", ""));
  EXPECT_FALSE(may_ask(none, "http://127.0.0.1:9090", "127.0.0.1:8080", "")) << "another server's page";
  EXPECT_FALSE(may_ask(none, "http://evil.example:8080", "evil.example:8080", "")) << "DNS rebinding";
}

int status_of(testing::TestServer& server, const std::string& origin) {
  return testing::ask(server.port(), "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: " + origin +
                                         "\r\nContent-Length: 1\r\n\r\nx")
      .status;
}

TEST(BrowserGuard, TheServerRefusesForeignPagesUnlessAKeyProtectsIt) {
  testing::Seen seen;
  HttpOptions options;
  testing::TestServer without_key(options, testing::test_routes(seen));
  EXPECT_EQ(status_of(without_key, "http://evil.example"), 403);
  EXPECT_EQ(status_of(without_key, "http://127.0.0.1"), 200);
  options.cors_origins = {"http://friend.example"};
  testing::TestServer with_friend(options, testing::test_routes(seen));
  EXPECT_EQ(status_of(with_friend, "http://friend.example"), 200);
  options.keys = {"k"};
  testing::TestServer with_key(options, testing::test_routes(seen));
  EXPECT_EQ(status_of(with_key, "http://evil.example"), 401);
}

}  // namespace
}  // namespace fastcache::server
