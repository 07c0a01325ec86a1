// SPDX-License-Identifier: Apache-2.0
#include "bench/load_url.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace fastcache::bench {
namespace {

TEST(LoadUrl, HostPortAndPath) {
  struct Case {
    const char *url, *host, *port, *base_path, *authority;
  };
  for (const Case& c : {Case{"http://127.0.0.1:8080", "127.0.0.1", "8080", "", "127.0.0.1:8080"},
                        {"http://localhost", "localhost", "80", "", "localhost"},
                        {"http://h:1/", "h", "1", "", "h:1"},
                        {"http://h:65535/v1/", "h", "65535", "", "h:65535"},
                        {"http://h/llm/v1", "h", "80", "/llm", "h"},
                        {"http://h/a/b//", "h", "80", "/a/b", "h"},
                        {"http://[::1]:99/x", "::1", "99", "/x", "[::1]:99"},
                        {"http://[fe80::2]", "fe80::2", "80", "", "[fe80::2]"}}) {
    const LoadUrl url = parse_load_url(c.url);
    EXPECT_EQ(url.host, c.host) << c.url;
    EXPECT_EQ(url.port, c.port) << c.url;
    EXPECT_EQ(url.base_path, c.base_path) << c.url;
    EXPECT_EQ(url.authority, c.authority) << c.url;
  }
}

TEST(LoadUrl, RefusesTheRestAndQuotesIt) {
  for (const std::string url :
       {"", "127.0.0.1:8080", "ftp://h", "http://", "http://:80", "http://h:", "http://h:0", "http://h:65536",
        "http://h:8x", "http://h:-1", "http://[::1", "http://[::1]x", "http://[]:80", "http://a b",
        "http://h\r\nX: y", "http://u@h", "http://h/?q", "http://h/#f"}) {
    try {
      parse_load_url(url);
      ADD_FAILURE() << url;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request) << url;
      EXPECT_NE(std::string(error.what()).find(url), std::string::npos);
    }
  }
  try {
    parse_load_url("https://h");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsupported);
  }
}

}  // namespace
}  // namespace fastcache::bench
