// SPDX-License-Identifier: Apache-2.0
#include "server/image_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace fastcache::server {
namespace {

using ::testing::HasSubstr;

void expect_url(std::string_view text, bool tls, const char* host, int port, const char* target) {
  const ImageUrl url = parse_image_url(text);
  EXPECT_EQ(url.tls, tls) << text;
  EXPECT_EQ(url.host, host) << text;
  EXPECT_EQ(url.port, port) << text;
  EXPECT_EQ(url.target, target) << text;
}

template <class What>
std::string refusal(What what) {
  try {
    what();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    return error.what();
  }
  return "it was taken";
}

std::string refusal_of(std::string_view url) {
  return refusal([url] { parse_image_url(url); });
}

TEST(ImageUrl, Parts) {
  expect_url("http://example.org/a.png", false, "example.org", 80, "/a.png");
  expect_url("HTTPS://Example.ORG:8443/A.png?b=c/d#e?f", true, "example.org", 8443, "/A.png?b=c/d");
  expect_url("https://example.org", true, "example.org", 443, "/");
  expect_url("http://example.org?x", false, "example.org", 80, "/?x");
  expect_url("http://example.org#x", false, "example.org", 80, "/");
  expect_url("http://[2001:DB8::1]:81/a", false, "2001:db8::1", 81, "/a");
  expect_url("http://example.org:/a", false, "example.org", 80, "/a");
}

TEST(ImageUrl, Authority) {
  EXPECT_EQ(parse_image_url("http://a.b:80/").authority(), "a.b");
  EXPECT_EQ(parse_image_url("https://a.b:443/").authority(), "a.b");
  EXPECT_EQ(parse_image_url("https://a.b:80/").authority(), "a.b:80");
  EXPECT_EQ(parse_image_url("http://[::1]:81/").authority(), "[::1]:81");
}

TEST(ImageUrl, Refusals) {
  EXPECT_THAT(refusal_of("http://me:secret@example.org/"), HasSubstr("no user or password"));
  EXPECT_THAT(refusal_of("http://allowed.org@evil.org/"), HasSubstr("no user or password"));
  EXPECT_THAT(refusal_of("http:///a.png"), HasSubstr("the host is missing"));
  EXPECT_THAT(refusal_of("http://example.org\\@evil.org/"), HasSubstr("a character that no URL has"));
  EXPECT_THAT(refusal_of("http://example.org/a b"), HasSubstr("a character that no URL has"));
  EXPECT_THAT(refusal_of("http://example.org/a\r\nHost: b"), HasSubstr("a character that no URL has"));
  EXPECT_THAT(refusal_of("http://ex\xc3\xa4mple.org/"), HasSubstr("a character that no URL has"));
  EXPECT_THAT(refusal_of("http://a:0/"), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal_of("http://a:65536/"), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal_of("http://a:8x/"), HasSubstr("1 to 65535"));
  EXPECT_THAT(refusal_of("http://[::1/"), HasSubstr("lacks its ]"));
  EXPECT_THAT(refusal_of("http://[::1]x/"), HasSubstr("behind the host"));
  EXPECT_THAT(refusal_of("ftp://a/"), HasSubstr("does not begin with"));
  EXPECT_LT(refusal_of("ftp://" + std::string(100'000, 'a')).size(), 300u);
}

TEST(ImageUrl, HostsAreComparedAsAWhole) {
  const std::vector<std::string> hosts{"Example.org", "b.net:8443", "[2001:db8::1]:81"};
  for (const char* url : {"http://example.org/", "https://EXAMPLE.org:443/a", "https://b.net:8443/",
                          "http://[2001:db8::1]:81/"})
    EXPECT_TRUE(is_allowed(hosts, parse_image_url(url))) << url;
  for (const char* url :
       {"http://example.org:8080/", "http://www.example.org/", "http://example.org.evil.net/",
        "http://xexample.org/", "http://example.org./", "https://b.net/", "http://b.net:844/",
        "http://[2001:db8::1]/", "http://example.or/"})
    EXPECT_FALSE(is_allowed(hosts, parse_image_url(url))) << url;
  EXPECT_FALSE(is_allowed({}, parse_image_url("http://example.org/")));
}

TEST(ImageUrl, Redirects) {
  const ImageUrl from = parse_image_url("https://a.org:444/x/y");
  EXPECT_EQ(follow(from, "/z").target, "/z");
  EXPECT_EQ(follow(from, "/z").authority(), "a.org:444");
  EXPECT_EQ(follow(from, "//b.org/z").host, "b.org");
  EXPECT_TRUE(follow(from, "//b.org/z").tls);
  EXPECT_EQ(follow(from, "https://b.org/z").host, "b.org");
  EXPECT_THAT(refusal([&] { follow(from, "http://a.org/z"); }), HasSubstr("from https to http"));
  EXPECT_THAT(refusal([&] { follow(from, "z.png"); }), HasSubstr("does not begin with"));
  EXPECT_THAT(refusal([&] { follow(from, "file:///etc/passwd"); }), HasSubstr("does not begin with"));
  EXPECT_THAT(refusal([&] { follow(from, ""); }), HasSubstr("does not begin with"));
}

}  // namespace
}  // namespace fastcache::server
