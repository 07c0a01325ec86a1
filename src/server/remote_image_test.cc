// SPDX-License-Identifier: Apache-2.0
// Fetches from a server on this machine. Only tests can reach it: without their seams its address is refused.
#include "server/remote_image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include <thread>

#include "base/error.h"
#include "server/http.h"
#include "server/testing/test_server.h"
#include "server/testing/tls_client.h"

namespace fastcache::server {
namespace {

namespace asio = boost::asio;
namespace ip = boost::asio::ip;
using ::testing::HasSubstr;
using testing::Seen;
using testing::TestServer;
using Endpoints = RemoteImageSeams::Endpoints;

asio::awaitable<void> redirect(const HttpRequest& request, HttpReply& reply) {
  Headers headers;
  headers.emplace_back("Location", request.query.at("to"));
  co_await reply.send(302, "text/plain", "", std::move(headers));
}

asio::awaitable<void> loop(const HttpRequest&, HttpReply& reply) {
  Headers headers;
  headers.emplace_back("Location", "/loop");
  co_await reply.send(302, "text/plain", "", std::move(headers));
}

asio::awaitable<void> missing(const HttpRequest&, HttpReply& reply) {
  co_await reply.send(404, "text/plain", "nothing here", {});
}

std::vector<Route> routes(Seen& seen) {
  std::vector<Route> all = testing::test_routes(seen);
  all.push_back({.method = "GET", .path = "/redirect", .handler = redirect});
  all.push_back({.method = "GET", .path = "/loop", .handler = loop});
  all.push_back({.method = "GET", .path = "/missing", .handler = missing});
  return all;
}

struct Outcome {
  std::string text = {};     // what came
  std::string refusal = {};  // or the error
  bool client_gone = false;
};

class RemoteImageTest : public ::testing::Test {
 protected:
  // Every name stands for this machine, which may be asked.
  RemoteImageSeams open_seams() {
    return {.resolve =
                [this](const std::string& host, uint16_t port, std::function<void(Endpoints)> found) {
                  resolved_.push_back(host);
                  found({{ip::make_address("127.0.0.1"), port}});
                },
            .may_ask = [](const ip::address&) { return true; }};
  }
  RemoteImageOptions options(std::vector<std::string> more_hosts = {}) {
    RemoteImageOptions options{.max_bytes = 1000};
    options.hosts = {host()};
    options.hosts.insert(options.hosts.end(), more_hosts.begin(), more_hosts.end());
    return options;
  }
  std::string host(const char* name = "pictures.test") const {
    return std::string(name) + ":" + std::to_string(server_.port());
  }
  std::string url(const std::string& target) const { return "http://" + host() + target; }

  Outcome fetch(const std::string& address, RemoteImageOptions options, RemoteImageSeams seams,
                const std::function<void(RemoteImages::Fetch&)>& beside = {}) {
    asio::io_context io;
    RemoteImages images(io, std::move(options), std::move(seams));
    const auto fetch = images.make_fetch();
    Outcome outcome;
    asio::co_spawn(io, fetch->run(address), [&](std::exception_ptr failure, std::vector<uint8_t> bytes) {
      outcome.text.assign(bytes.begin(), bytes.end());
      try {
        if (failure) std::rethrow_exception(failure);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::bad_request);
        outcome.refusal = error.what();
      } catch (const ClientGone&) {
        outcome.client_gone = true;
      }
    });
    std::thread other;
    if (beside) {
      other = std::thread([&] {
        beside(*fetch);
        asio::post(io, [&fetch] { fetch->stop(); });
      });
    }
    io.run();
    if (other.joinable()) other.join();
    return outcome;
  }
  Outcome fetch(const std::string& target) { return fetch(url(target), options(), open_seams()); }

  Seen seen_;
  TestServer server_{{}, routes(seen_)};
  std::vector<std::string> resolved_;
};

TEST_F(RemoteImageTest, BringsTheBytes) {
  EXPECT_EQ(fetch("/hello").text, "hello");
  EXPECT_EQ(fetch("/stream?n=3").text, "0\n1\n2\n");  // chunked
  EXPECT_EQ(fetch("/stream?n=0").text, "");
}

TEST_F(RemoteImageTest, AsksPlainly) {
  const std::string asked = fetch("/what?a=b").text;
  EXPECT_THAT(asked, HasSubstr("GET /what\n?a=b\n"));
  EXPECT_THAT(asked, HasSubstr("host: " + host()));
  EXPECT_THAT(asked, HasSubstr("accept-encoding: identity"));
  EXPECT_EQ(asked.find("cookie"), std::string::npos);
}

TEST_F(RemoteImageTest, ThisMachineAndItsNetworkAreNeverAsked) {
  const int before = server_.counters().connections_accepted;
  for (const char* name :
       {"127.0.0.1", "[::1]", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1", "0x7f000001"}) {
    RemoteImageOptions allowed = options({host(name)});
    const Outcome outcome = fetch("http://" + host(name) + "/hello", allowed, {});
    EXPECT_THAT(outcome.refusal, HasSubstr("has no public address")) << name;
  }
  for (const char* address :
       {"127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1", "::1"}) {
    RemoteImageSeams seams;
    seams.resolve = [&](const std::string&, uint16_t port, std::function<void(Endpoints)> found) {
      found({{ip::make_address(address), port}});
    };
    EXPECT_THAT(fetch(url("/hello"), options(), seams).refusal, HasSubstr("has no public address"))
        << address;
  }
  EXPECT_EQ(server_.counters().connections_accepted, static_cast<uint64_t>(before));
}

TEST_F(RemoteImageTest, ConnectsToTheAddressThatWasChecked) {
  int n_resolved = 0;
  RemoteImageSeams seams;
  // a name that says something else each time
  seams.resolve = [&](const std::string&, uint16_t port, std::function<void(Endpoints)> found) {
    const char* address = ++n_resolved == 1 ? "127.0.0.1" : "127.0.0.2";
    found({{ip::make_address("127.0.0.3"), port}, {ip::make_address(address), port}});
  };
  std::vector<std::string> checked;
  seams.may_ask = [&](const ip::address& address) {
    checked.push_back(address.to_string());
    return address != ip::make_address("127.0.0.3");
  };
  EXPECT_EQ(fetch(url("/hello"), options(), seams).text, "hello");
  EXPECT_EQ(n_resolved, 1);
  EXPECT_EQ(checked, (std::vector<std::string>{"127.0.0.3", "127.0.0.1"}));
}

TEST_F(RemoteImageTest, TriesTheNextAddress) {
  RemoteImageSeams seams = open_seams();
  seams.resolve = [](const std::string&, uint16_t port, std::function<void(Endpoints)> found) {
    found({{ip::make_address("127.0.0.9"), port}, {ip::make_address("127.0.0.1"), port}});
  };
  EXPECT_EQ(fetch(url("/hello"), options(), seams).text, "hello");
}

TEST_F(RemoteImageTest, HostsThatAreNotNamedAreNotEvenLookedUp) {
  const Outcome outcome = fetch("http://other.test/hello", options(), open_seams());
  EXPECT_THAT(outcome.refusal, HasSubstr("pictures of other.test may not be fetched; --allow-remote-images"));
  EXPECT_TRUE(resolved_.empty());
}

TEST_F(RemoteImageTest, RedirectsStayAmongTheNamedHosts) {
  EXPECT_EQ(fetch("/redirect?to=/hello").text, "hello");
  EXPECT_EQ(fetch("/redirect?to=" + url("/hello")).text, "hello");
  const std::string second = "http://" + host("second.test");
  EXPECT_EQ(
      fetch(url("/redirect?to=" + second + "/hello"), options({host("second.test")}), open_seams()).text,
      "hello");
  resolved_.clear();
  EXPECT_THAT(fetch("/redirect?to=" + second + "/hello").refusal, HasSubstr("second.test"));
  EXPECT_EQ(resolved_, std::vector<std::string>{"pictures.test"});
  EXPECT_THAT(fetch("/redirect?to=file:///etc/passwd").refusal, HasSubstr("cannot be a picture's address"));
  EXPECT_EQ(fetch("/redirect?to=/redirect?to=/hello").text, "hello");
  EXPECT_THAT(fetch("/loop").refusal, HasSubstr("it redirects more than 3 times"));
}

TEST_F(RemoteImageTest, RedirectsToThisMachineAreRefusedLikeAnyAddress) {
  RemoteImageSeams seams = open_seams();
  seams.resolve = [](const std::string& name, uint16_t port, std::function<void(Endpoints)> found) {
    found({{ip::make_address(name == "pictures.test" ? "127.0.0.1" : "127.0.0.2"), port}});
  };
  seams.may_ask = [](const ip::address& address) { return address == ip::make_address("127.0.0.1"); };
  const std::string inside = "http://" + host("inside.test") + "/hello";
  EXPECT_THAT(fetch(url("/redirect?to=" + inside), options({host("inside.test")}), seams).refusal,
              HasSubstr("has no public address"));
}

TEST_F(RemoteImageTest, AnswersThatAreNoPicture) {
  EXPECT_THAT(fetch("/missing").refusal, HasSubstr("the server answered 404"));
  EXPECT_THAT(fetch("/endless?bytes=100").refusal, HasSubstr("it has more than 1000 bytes"));
  RemoteImageOptions little = options();
  little.max_bytes = 4;
  EXPECT_THAT(fetch(url("/hello"), little, open_seams()).refusal, HasSubstr("it has more than 4 bytes"));
  little.max_bytes = 5;
  EXPECT_EQ(fetch(url("/hello"), little, open_seams()).text, "hello");
  EXPECT_FALSE(fetch("/cut").refusal.empty());
  RemoteImageSeams none = open_seams();
  none.resolve = [](const std::string&, uint16_t, std::function<void(Endpoints)> found) { found({}); };
  EXPECT_THAT(fetch(url("/hello"), options(), none).refusal, HasSubstr("pictures.test has no address"));
}

TEST_F(RemoteImageTest, TimeRunsOutWhileItAnswersAndWhileItIsLookedUp) {
  RemoteImageOptions quick = options();
  quick.timeout_ms = 50;
  EXPECT_THAT(fetch(url("/wait"), quick, open_seams()).refusal, HasSubstr("it did not come within 0.05 s"));
  EXPECT_TRUE(seen_.gone.wait_for(1));
  RemoteImageSeams silent = open_seams();
  silent.resolve = [](const std::string&, uint16_t, const std::function<void(Endpoints)>&) {};
  EXPECT_THAT(fetch(url("/wait"), quick, silent).refusal, HasSubstr("it did not come within"));
}

TEST_F(RemoteImageTest, EndsWhenTheClientLeaves) {
  const Outcome asked = fetch(url("/wait"), options(), open_seams(),
                              [&](RemoteImages::Fetch&) { EXPECT_TRUE(seen_.begun.wait_for(1)); });
  EXPECT_TRUE(asked.client_gone);
  EXPECT_TRUE(seen_.gone.wait_for(1));
  RemoteImageSeams silent = open_seams();
  silent.resolve = [](const std::string&, uint16_t, const std::function<void(Endpoints)>&) {};
  EXPECT_TRUE(fetch(url("/wait"), options(), silent, [](RemoteImages::Fetch&) {}).client_gone);
}

TEST_F(RemoteImageTest, OffByDefault) {
  asio::io_context io;
  const RemoteImages images(io, {});
  try {
    images.check("https://example.org/a.png");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("--allow-remote-images HOST"));
  }
}

TEST_F(RemoteImageTest, CertificatesAreVerified) {
  const testing::CertificateFiles files;  // of localhost
  HttpOptions tls;
  tls.tls_chain_file = files.chain;
  tls.tls_key_file = files.key;
  Seen seen;
  TestServer server(tls, testing::test_routes(seen));
  const auto ask = [&](const std::string& name, const std::string& trusted) {
    const std::string authority = name + ":" + std::to_string(server.port());
    RemoteImageSeams seams = open_seams();
    seams.trusted_file = trusted;
    return fetch("https://" + authority + "/hello", {.hosts = {authority}}, seams);
  };
  EXPECT_EQ(ask("localhost", files.chain).text, "hello");
  EXPECT_THAT(ask("localhost", "").refusal, HasSubstr("certificate"));
  EXPECT_THAT(ask("other.test", files.chain).refusal, HasSubstr("certificate"));
}

}  // namespace
}  // namespace fastcache::server
