// SPDX-License-Identifier: Apache-2.0
// The same server under TLS, with a certificate made here.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/error.h"
#include "server/testing/raw_client.h"
#include "server/testing/test_server.h"
#include "server/testing/tls_client.h"

namespace fastcache::server {
namespace {

using testing::CertificateFiles;
using testing::RawClient;
using testing::Seen;
using testing::TestServer;
using testing::TlsClient;

HttpOptions options_with(const CertificateFiles& files) {
  HttpOptions options;
  options.tls_chain_file = files.chain;
  options.tls_key_file = files.key;
  return options;
}

const std::string kHost = " HTTP/1.1\r\nHost: localhost\r\n";

TEST(HttpTls, AnswersStreamsAndLargeBodies) {
  const CertificateFiles files;
  Seen seen;
  TestServer server(options_with(files), testing::test_routes(seen));
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    TlsClient client(server.port(), version);
    ASSERT_TRUE(client.connect());
    EXPECT_STREQ(client.version(), version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
    ASSERT_TRUE(client.send("GET /stream" + kHost + "\r\n"));
    EXPECT_NE(client.read_until("0\r\n\r\n").find("2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n"), std::string::npos);
    const std::string body = std::string(1 << 20, 'x') + "END";
    ASSERT_TRUE(client.send("POST /echo" + kHost + "Content-Length: " + std::to_string(body.size()) +
                            "\r\n\r\n" + body));
    const std::string answer = client.read_until("END");
    EXPECT_EQ(answer.substr(answer.find("\r\n\r\n") + 4), body);
  }
}

TEST(HttpTls, OldVersionsAndPlainTextAreRefused) {
  const CertificateFiles files;
  Seen seen;
  TestServer server(options_with(files), testing::test_routes(seen));
  EXPECT_FALSE(TlsClient(server.port(), TLS1_1_VERSION).connect());
  RawClient plain(server.port());
  plain.send("GET /hello" + kHost + "\r\n");
  EXPECT_EQ(plain.read_to_end().find("hello"), std::string::npos);
  TlsClient good(server.port());
  EXPECT_TRUE(good.connect());
}

TEST(HttpTls, AClientThatLeavesIsNoticed) {
  const CertificateFiles files;
  Seen seen;
  TestServer server(options_with(files), testing::test_routes(seen));
  for (int i = 0; i < 10; ++i) {
    TlsClient client(server.port());
    ASSERT_TRUE(client.connect());
    client.send(std::string("GET ") + (i % 2 == 0 ? "/wait" : "/endless") + kHost + "\r\n");
    ASSERT_TRUE(seen.begun.wait_for(i + 1));
    client.close();
    ASSERT_TRUE(seen.ended.wait_for(i + 1));
  }
  EXPECT_EQ(seen.gone.count(), 10);
}

TEST(HttpTls, AHandshakeThatDoesNotComeTimesOut) {
  const CertificateFiles files;
  Seen seen;
  HttpOptions options = options_with(files);
  options.limits.header_timeout_ms = 50;
  TestServer server(options, testing::test_routes(seen));
  RawClient client(server.port());
  client.send("\x16\x03\x01");
  EXPECT_TRUE(client.ended());
}

TEST(HttpTls, FilesThatDoNotFitAreNamed) {
  const CertificateFiles files, others;
  HttpOptions options = options_with(files);
  options.tls_key_file = others.key;
  try {
    HttpServer server(options);
    FAIL() << "the key of another certificate was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(others.key), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fastcache::server
