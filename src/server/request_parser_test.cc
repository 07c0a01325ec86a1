// SPDX-License-Identifier: Apache-2.0
#include "server/request_parser.h"

#include <gtest/gtest.h>

#include <random>

#include "base/test_seed.h"

namespace fastcache::server {
namespace {

HttpLimits small_limits() {
  HttpLimits limits;
  limits.request_line_bytes = 200;
  limits.header_bytes = 400;
  limits.body_bytes = 1000;
  return limits;
}

// What the parser makes of the bytes: "400", or the request in words.
std::string outcome(RequestParser& parser, std::string& in) {
  try {
    if (!parser.read_head(in)) return "more";
    parser.check_head();
    if (!parser.read_body(in)) return "more";
  } catch (const HttpFault& fault) {
    return std::to_string(fault.status);
  }
  return parser.head().method + " " + parser.head().target + " " + parser.take_body();
}

std::string outcome(std::string in) {
  RequestParser parser(small_limits());
  return outcome(parser, in);
}

std::string post(const std::string& fields, const std::string& body) {
  return "POST /a HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body;
}

TEST(RequestParser, PlainAndChunkedBodies) {
  EXPECT_EQ(outcome("GET /a HTTP/1.1\r\nHost: h\r\n\r\n"), "GET /a ");
  EXPECT_EQ(outcome("\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n"), "GET /a ");
  EXPECT_EQ(outcome("GET /a HTTP/1.0\r\n\r\n"), "GET /a ");
  EXPECT_EQ(outcome(post("Content-Length: 3\r\n", "abc")), "POST /a abc");
  EXPECT_EQ(outcome(post("Transfer-Encoding: CHUNKED\r\n", "2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n")),
            "POST /a abc");
  EXPECT_EQ(outcome(post("Content-Length: 3\r\n", "ab")), "more");
}

TEST(RequestParser, WhatFollowsStays) {
  RequestParser parser(small_limits());
  std::string in = post("Content-Length: 3\r\n", "abcGET /b");
  EXPECT_EQ(outcome(parser, in), "POST /a abc");
  EXPECT_EQ(in, "GET /b");
}

TEST(RequestParser, ContradictionsAboutTheLengthAreRefused) {
  for (const char* fields : {
           "Content-Length: 3\r\nContent-Length: 4\r\n",
           "Content-Length: 3\r\nContent-Length: 3\r\n",
           "Content-Length: 3, 3\r\n",
           "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
           "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
           "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "Content-Length: -1\r\n",
           "Content-Length: +3\r\n",
           "Content-Length: 0x3\r\n",
           "Content-Length: 3 3\r\n",
           "Content-Length:\r\n",
           "Content-Length: 99999999999999999999999\r\n",
           "Content-Length : 3\r\n",
       }) {
    EXPECT_EQ(outcome(post(fields, "abc")), "400") << fields;
  }
  EXPECT_EQ(outcome("POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "400");
}

TEST(RequestParser, UnknownEncodingsVersionsAndExpectations) {
  EXPECT_EQ(outcome(post("Transfer-Encoding: gzip\r\n", "")), "501");
  EXPECT_EQ(outcome(post("Transfer-Encoding: gzip, chunked\r\n", "")), "501");
  EXPECT_EQ(outcome(post("Transfer-Encoding: chunked, gzip\r\n", "")), "501");
  EXPECT_EQ(outcome(post("Transfer-Encoding: \r\n", "")), "501");
  EXPECT_EQ(outcome(post("Expect: a miracle\r\n", "")), "417");
  EXPECT_EQ(outcome("GET /a HTTP/2.0\r\n\r\n"), "505");
  EXPECT_EQ(outcome("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505");
  EXPECT_EQ(outcome("GET /a HTTP/0.9\r\n\r\n"), "505");
}

TEST(RequestParser, WhatIsNoHttpIsRefused) {
  for (const char* text :
       {"hello\r\n\r\n", "GET /a\r\n\r\n", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
        "G\tT /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: h\r\nB d: x\r\n\r\n", "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /a HTTP/1.1\nHost: h\n\nxx\r\n\r\n",
        "\x16\x03\x01\x02\xfc\x03\x03\r\n\r\n"}) {
    EXPECT_EQ(outcome(text), "400") << text;
  }
  for (const char* chunks : {"x\r\n", "-1\r\nab\r\n", "2\r\nabc\r\n0\r\n\r\n", "2 \r\nab\r\n0\r\n\r\n!",
                             "ffffffffffffffffff\r\n", "2\nab\r\n0\r\n\r\n"}) {
    const std::string status = outcome(post("Transfer-Encoding: chunked\r\n", chunks));
    EXPECT_TRUE(status == "400" || status == "413" || status == "more") << chunks << " " << status;
  }
}

TEST(RequestParser, Limits) {
  const auto line = [](size_t bytes) { return "GET /" + std::string(bytes - 14, 'a') + " HTTP/1.1"; };
  EXPECT_NE(outcome(line(200) + "\r\nHost: h\r\n\r\n"), "414");
  EXPECT_EQ(outcome(line(201) + "\r\nHost: h\r\n\r\n"), "414");
  EXPECT_EQ(outcome(line(300)), "414");
  EXPECT_EQ(outcome(post("A: " + std::string(500, 'a'), "")), "431");
  EXPECT_EQ(outcome(post("Content-Length: 1000\r\n", std::string(1000, 'b'))),
            "POST /a " + std::string(1000, 'b'));
  EXPECT_EQ(outcome(post("Content-Length: 1001\r\n", "")), "413");
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  const std::string half = "1f4\r\n" + std::string(500, 'c') + "\r\n";
  EXPECT_EQ(outcome(post(chunked, half + half + "0\r\n\r\n")), "POST /a " + std::string(1000, 'c'));
  EXPECT_EQ(outcome(post(chunked, half + half + "1\r\nc\r\n0\r\n\r\n")), "413");
  EXPECT_EQ(outcome(post(chunked, "2;" + std::string(500, 'x'))), "400");
  EXPECT_EQ(outcome(post(chunked, "0\r\nT: " + std::string(500, 'x'))), "400");
}

// The same bytes, whole or cut anywhere, mean the same.
TEST(RequestParser, CutsChangeNothing) {
  std::mt19937_64 random(test_seed());
  const std::vector<std::string> requests{
      "GET /a?b=c HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n",
      post("Content-Length: 11\r\n", "hello\r\nworld"),
      post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\nA;e=1\r\n0123456789\r\n0\r\nTrail: er\r\n\r\n"),
      post("Content-Length: 1001\r\n", ""),
      post("Transfer-Encoding: gzip\r\n", ""),
      post("Transfer-Encoding: chunked\r\n", "zz\r\n"),
      "GET /a HTTP/3.0\r\n\r\n",
      "GET /" + std::string(300, 'a') + " HTTP/1.1\r\nHost: h\r\n\r\n",
      post("A: " + std::string(500, 'a'), "\r\n")};
  for (const std::string& request : requests) {
    const std::string whole = outcome(request);
    ASSERT_NE(whole, "more");
    for (int round = 0; round < 300; ++round) {
      RequestParser parser(small_limits());
      std::string in, got = "more";
      bool has_head = false;
      for (size_t at = 0; at < request.size() && got == "more";) {
        const size_t piece =
            std::min<size_t>(request.size() - at, 1 + (round == 0 ? 0 : random() % (1 + random() % 40)));
        in += request.substr(at, piece);
        at += piece;
        try {
          if (!has_head && parser.read_head(in)) has_head = true, parser.check_head();
          if (has_head && parser.read_body(in)) {
            got = parser.head().method + " " + parser.head().target + " " + parser.take_body();
          }
        } catch (const HttpFault& fault) {
          got = std::to_string(fault.status);
        }
      }
      ASSERT_EQ(got, whole) << request;
    }
  }
}

}  // namespace
}  // namespace fastcache::server
