// SPDX-License-Identifier: Apache-2.0
#include "server/target.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"

namespace fastcache::server {
namespace {

using Query = std::map<std::string, std::string>;

TEST(Target, PathsAndQueriesAreDecoded) {
  const auto target = parse_target("/a%20b/%c3%A4?x=1&y=a+b%26c&flag&x=2");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/a b/\xc3\xa4");
  EXPECT_EQ(target->query, (Query{{"x", "2"}, {"y", "a b&c"}, {"flag", ""}}));
}

TEST(Target, AllFormsOfClientsAndProxies) {
  EXPECT_EQ(parse_target("/")->path, "/");
  EXPECT_EQ(parse_target("*")->path, "*");
  EXPECT_EQ(parse_target("http://host:80/v1/models?a=b")->path, "/v1/models");
  EXPECT_EQ(parse_target("http://host")->path, "/");
  EXPECT_EQ(parse_target("http://host?a=b")->query, (Query{{"a", "b"}}));
  EXPECT_EQ(parse_target("/a#b")->path, "/a");
  EXPECT_EQ(parse_target("/a+b")->path, "/a+b");  // a plus is a space in queries alone
}

TEST(Target, WhatIsNoTargetIsNothing) {
  for (const char* text : {"", "a", "host:443", "%2fa", "/%", "/%2", "/%zz", "/%00", "/a?b=%0", "/a?%00=1"}) {
    EXPECT_FALSE(parse_target(text)) << text;
  }
}

TEST(Target, WhatWasEncodedComesBack) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 2000; ++round) {
    std::string plain = "/", encoded = "/";
    for (uint64_t i = random() % 20; i > 0; --i) {
      const unsigned char c = static_cast<unsigned char>(1 + random() % 255);
      char hex[4];
      std::snprintf(hex, sizeof hex, random() % 2 == 0 ? "%%%02x" : "%%%02X", c);
      plain.push_back(static_cast<char>(c));
      encoded += hex;
    }
    const auto target = parse_target(encoded + "?" + encoded.substr(1) + "=" + encoded);
    ASSERT_TRUE(target) << encoded;
    EXPECT_EQ(target->path, plain);
    EXPECT_EQ(target->query, (Query{{plain.substr(1), plain}}));
  }
}

}  // namespace
}  // namespace fastcache::server
