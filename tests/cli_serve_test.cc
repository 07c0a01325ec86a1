// SPDX-License-Identifier: Apache-2.0
// `fastcache serve` from the outside: start, signals, keys, clients that vanish, and what is wrong from the
// beginning.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "model/testing/tiny_model.h"
#include "serve_child.h"
#include "serve_clients.h"
#include "server/testing/tls_client.h"

namespace fastcache {
namespace {

using model::test_support::TemporaryFolder;
using nlohmann::json;
using server::testing::RawClient;
using server::testing::RawReply;
using test_support::ask;
using test_support::ChildResult;
using test_support::http_request;
using test_support::run_fastcache;
using test_support::ServerChild;
using testing::HasSubstr;
using testing::Not;

class CliServe : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    model::test_support::write_tiny_model(tiny(), {.context_length = 4096, .seed = 5});
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string file(const std::string& name) { return folder_->file(name); }
  static std::string tiny() { return file("tiny.gguf"); }
  static std::string write(const std::string& name, const std::string& content) {
    std::ofstream(file(name), std::ios::binary) << content;
    std::filesystem::permissions(file(name), std::filesystem::perms(0600));  // nothing to warn of
    return file(name);
  }
  static std::vector<std::string> with(std::vector<std::string> more) {
    more.insert(more.begin(), {"-m", tiny(), "-t", "1", "--pool", "64MiB"});
    return more;
  }

 private:
  static inline std::unique_ptr<TemporaryFolder> folder_;
};

std::string story(int max_tokens, bool stream) {
  return json{{"prompt", "a b c d"},
              {"max_tokens", max_tokens},
              {"temperature", 0},
              {"ignore_eos", true},
              {"stream", stream}}
      .dump();
}

TEST_F(CliServe, AnswersAndDrains) {
  ServerChild server(with({"--served-model-name", "tiny"}));
  server.wait_until_ready();
  const int port = server.port();
  EXPECT_EQ(ask(port, "GET", "/health").status, 200);
  const RawReply whole = ask(port, "POST", "/v1/completions", story(20, false));
  EXPECT_EQ(whole.status, 200) << whole.body;
  const json answer = json::parse(whole.body);
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 20);
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");

  // Told to stop in mid-stream: the stream is finished, nobody new is let in.
  RawClient stream(port);
  stream.send(http_request("POST", "/v1/completions", story(600, true)));
  EXPECT_THAT(stream.read_until("data: "), HasSubstr("200"));
  server.send_signal(SIGTERM);
  EXPECT_THAT(stream.read_to_end(), HasSubstr("data: [DONE]"));
  EXPECT_EQ(server.wait_for_exit(), 0) << server.log();
}

TEST_F(CliServe, ASecondSignalEndsItAtOnce) {
  ServerChild server(with({}));
  server.wait_until_ready();
  RawClient stream(server.port());
  stream.send(http_request("POST", "/v1/completions", story(4000, true)));
  stream.read_until("data: ");
  server.send_signal(SIGINT);
  server.wait_for_log("finish");
  server.send_signal(SIGINT);
  EXPECT_THAT(stream.read_to_end(), Not(HasSubstr("[DONE]")));
  EXPECT_GE(server.wait_for_exit(), 0) << server.log();
}

TEST_F(CliServe, ModelThatCannotBeLoaded) {
  ServerChild server({"-m", write("text.gguf", "This is no model.\n")});
  EXPECT_EQ(server.wait_for_exit(), exit_code(Code::invalid_model));
  EXPECT_THAT(server.log(), HasSubstr("text.gguf"));
}

TEST_F(CliServe, KeysAreReadAgain) {
  const std::string keys = write("keys", "# one key a line\nfirst-key\n");
  ServerChild server(with({"--api-key-file", keys}), {"FASTCACHE_API_KEY=third-key"});
  server.wait_until_ready();
  const int port = server.port();
  const auto status = [&](const std::string& key) {
    return ask(port, "GET", "/v1/models", {}, "Authorization: Bearer " + key + "\r\n").status;
  };
  EXPECT_EQ(ask(port, "GET", "/v1/models").status, 401);
  EXPECT_EQ(ask(port, "GET", "/health").status, 200);
  EXPECT_EQ(status("first-key"), 200);
  EXPECT_EQ(status("second-key"), 401);
  EXPECT_EQ(status("third-key"), 200);

  write("keys", "second-key\n");
  server.send_signal(SIGHUP);
  server.wait_for_log("2 keys");
  EXPECT_EQ(status("first-key"), 401);
  EXPECT_EQ(status("second-key"), 200);
  EXPECT_EQ(status("third-key"), 200);

  write("keys", "no good key\n");  // a broken file leaves things as they are
  server.send_signal(SIGHUP);
  server.wait_for_log("line 1");
  EXPECT_EQ(status("second-key"), 200);
  EXPECT_THAT(server.log(), Not(HasSubstr("no good key")));
}

TEST_F(CliServe, KeptModelNameIsTheFiles) {
  ServerChild server(with({}));
  server.wait_until_ready();
  const json models = json::parse(ask(server.port(), "GET", "/v1/models").body);
  EXPECT_EQ(models["data"].size(), 1u);
  EXPECT_FALSE(models["data"][0]["id"].get<std::string>().empty());
}

TEST_F(CliServe, Configuration) {
  const std::string config = write(
      "c.toml", "[serve]\nmodel = '" + tiny() +
                    "'\nserved-model-name = 'of-the-file'\n"
                    "threads = 1\npool = '64MiB'\nkv-compression = 'knorm(ratio=0.5)'\nmax-tokens = 7\n");
  ServerChild server({"--config", config});
  server.wait_until_ready();
  const json answer = json::parse(ask(server.port(), "POST", "/v1/completions",
                                      R"({"prompt": "a b c d e f g h i j k l m n", "ignore_eos": true})")
                                      .body);
  EXPECT_EQ(answer["model"], "of-the-file");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 7);
  EXPECT_LT(answer["fastcache"]["rows_after_compression"], answer["fastcache"]["rows_before_compression"]);
}

void expect_refusal(Code code, const std::string& part, const std::vector<std::string>& arguments,
                    const std::vector<std::string>& environment = {}) {
  std::vector<std::string> words{"serve", "--port", "0"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  const ChildResult result = run_fastcache(words, {.environment = environment});
  EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
  EXPECT_THAT(result.err, HasSubstr(part));
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
}

TEST_F(CliServe, WhatIsWrongIsSaidAtOnce) {
  expect_refusal(Code::bad_request, "key", with({"--host", "0.0.0.0"}));
  expect_refusal(Code::bad_request, "key", with({"--host", "::"}));
  expect_refusal(Code::bad_request, "nowhere.invalid", with({"--host", "nowhere.invalid"}));
  expect_refusal(Code::bad_request, "--port", with({"--port", "70000"}));
  expect_refusal(Code::io, "/nowhere/keys", with({"--api-key-file", "/nowhere/keys"}));
  expect_refusal(Code::bad_request, "line 2", with({"--api-key-file", write("keys", "good\nnot good\n")}));
  expect_refusal(Code::bad_request, "FASTCACHE_API_KEY", with({}), {"FASTCACHE_API_KEY="});
  expect_refusal(Code::bad_request, "FASTCACHE_API_KEY", with({}), {"FASTCACHE_API_KEY=a b"});
  expect_refusal(Code::bad_request, "--tls-key", with({"--tls-cert", "/nowhere/cert.pem"}));
  expect_refusal(Code::bad_request, "/nowhere/cert.pem",
                 with({"--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"}));
  expect_refusal(Code::not_found, "nonsense", with({"--kv-compression", "nonsense(ratio=0.5)"}));
  expect_refusal(Code::bad_request, "ratio", with({"--kv-compression", "knorm(ratio=2)"}));
  expect_refusal(Code::bad_request, "temperature", with({"--temperature", "-1"}));
  expect_refusal(Code::bad_request, "--policy", with({"--policy", "lifo"}));
  expect_refusal(Code::bad_request, "--itl-target", with({"--itl-target", "0"}));
  expect_refusal(Code::bad_request, "--drain-s", with({"--drain-s", "-1"}));
  expect_refusal(Code::not_found, "no-such-model", {"-m", "no-such-model"});
  expect_refusal(Code::bad_request, "serve has no option 'prot'",
                 {"--config", write("c.toml", "[serve]\nprot = 1\n")});
}

TEST_F(CliServe, Tls) {
  const server::testing::CertificateFiles files;
  ServerChild server(with({"--tls-cert", files.chain, "--tls-key", files.key}));
  server.wait_until_ready();
  server::testing::TlsClient client(server.port());
  ASSERT_TRUE(client.connect());
  ASSERT_TRUE(client.send(http_request("GET", "/version")));
  EXPECT_THAT(client.read_until("}"), HasSubstr("200 OK"));
  server.send_signal(SIGTERM);
  EXPECT_EQ(server.wait_for_exit(), 0) << server.log();
  EXPECT_EQ(run_fastcache(
                {"serve", "-m", tiny(), "--port", "0", "--tls-cert", files.chain, "--tls-key", files.chain})
                .exit_code,
            exit_code(Code::bad_request));
}

TEST_F(CliServe, PortInUse) {
  ServerChild server(with({}));
  const std::string port = std::to_string(server.port());
  const ChildResult second = run_fastcache({"serve", "-m", tiny(), "--port", port});
  EXPECT_EQ(second.exit_code, exit_code(Code::io)) << second.err;
  EXPECT_THAT(second.err, HasSubstr(port));
  EXPECT_THAT(second.err, HasSubstr("in use"));
}

TEST_F(CliServe, KilledClientsLeaveAnEmptyPool) {
  ServerChild server(with({"--no-prefix-cache"}));
  server.wait_until_ready();
  test_support::kill_streaming_clients(server.port(),
                                       http_request("POST", "/v1/completions", story(3000, true)),
                                       {.clients = 100, .at_once = 10});
  test_support::expect_empty_pool(server.port());
  EXPECT_EQ(ask(server.port(), "POST", "/v1/completions", story(5, false)).status, 200);
}

}  // namespace
}  // namespace fastcache
