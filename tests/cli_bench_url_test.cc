// SPDX-License-Identifier: Apache-2.0
// `fastcache bench --url` as a user runs it, against servers that answer by script.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bench/testing/http_load_testing.h"
#include "child.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using bench::test_support::answer_well;
using bench::test_support::ReceivedCall;
using bench::test_support::ScriptedReply;
using bench::test_support::ScriptedServer;
using model::test_support::TemporaryFolder;
using model::test_support::write_tiny_model;
using test_support::ChildResult;
using test_support::run_fastcache;
using testing::HasSubstr;
using Json = nlohmann::json;

class CliBenchUrl : public testing::Test {
 protected:
  std::string file(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string tiny() {
    write_tiny_model(file("tiny.gguf"), {});
    return file("tiny.gguf");
  }
  Json json() const {
    std::ifstream stream(file("result.json"));
    return Json::parse(stream);
  }
  ChildResult bench(const ScriptedServer& server, std::vector<std::string> more) {
    const std::vector<std::string> all{"bench", "--url", server.url(), "--save-result", file("result.json")};
    more.insert(more.begin(), all.begin(), all.end());
    return run_fastcache(more);
  }
  // The bodies that came, and the good answers to them.
  ScriptedServer server() {
    return ScriptedServer([this](const ReceivedCall& call, ScriptedReply& reply) {
      if (call.path == "/v1/models") return reply.answer(200, R"({"data":[{"id":"smol"}]})");
      {
        const std::lock_guard lock(mutex_);
        bodies_.push_back(Json::parse(call.body));
      }
      answer_well(reply);
    });
  }
  std::vector<Json> bodies() {
    const std::lock_guard lock(mutex_);
    return bodies_;
  }

 private:
  TemporaryFolder folder_;
  std::mutex mutex_;
  std::vector<Json> bodies_;
};

TEST_F(CliBenchUrl, WritesATableAndTheKeysOfVllm) {
  const ScriptedServer on = server();
  const ChildResult result = bench(on, {"--num-prompts", "6", "--request-rate", "500", "--prompt-tokens", "9",
                                        "--generate-tokens", "3", "--goodput", "ttft:60000", "e2el:60000"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "") << "no progress bar where there is no terminal";
  for (const char* part : {"smol", "6, 0 (seed 0)", "TTFT", "TPOT", "ITL", "E2EL", "goodput"})
    EXPECT_THAT(result.out, HasSubstr(part));
  const Json found = json();
  EXPECT_EQ(found.at("completed"), 6);
  EXPECT_EQ(found.at("failed"), 0);
  EXPECT_EQ(found.at("total_input_tokens"), 30);
  EXPECT_EQ(found.at("total_output_tokens"), 18);
  EXPECT_EQ(found.at("request_goodput"), found.at("request_throughput"));
  for (const std::string of : {"ttft", "tpot", "itl", "e2el"}) {
    for (const std::string which : {"mean_", "median_", "std_", "p99_"})
      EXPECT_GE(found.at(which + of + "_ms").get<double>(), 0) << which << of;
  }
  ASSERT_EQ(bodies().size(), 7u) << "one ahead, to warm up";
  EXPECT_EQ(bodies().back().at("model"), "smol");
  EXPECT_EQ(bodies().back().at("max_tokens"), 3);
  EXPECT_EQ(bodies().back().at("ignore_eos"), true);
  EXPECT_TRUE(bodies().back().at("prompt").is_string());
}

TEST_F(CliBenchUrl, TokenIdsOfALocalVocabularyAndDatasets) {
  const ScriptedServer on = server();
  ASSERT_EQ(
      bench(on, {"-m", tiny(), "--num-prompts", "1", "--prompt-tokens", "9", "--no-ignore-eos"}).exit_code,
      0);
  EXPECT_EQ(bodies().back().at("prompt").size(), 9u);
  EXPECT_TRUE(bodies().back().at("prompt").at(0).is_number_integer());
  EXPECT_FALSE(bodies().back().contains("ignore_eos"));

  std::ofstream(file("data.jsonl")) << R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3})"
                                    << '\n';
  const ChildResult chat = bench(on, {"--dataset", file("data.jsonl"), "--endpoint", "/v1/chat/completions",
                                      "--served-model-name", "mine", "--extra-body", R"({"top_p": 0.5})"});
  ASSERT_EQ(chat.exit_code, 0) << chat.err;
  EXPECT_EQ(bodies().back().at("messages").at(0).at("content"), "hi");
  EXPECT_EQ(bodies().back().at("model"), "mine");
  EXPECT_EQ(bodies().back().at("top_p"), 0.5);
  EXPECT_FALSE(bodies().back().contains("ignore_eos")) << "datasets have their own ends";
  EXPECT_EQ(json().at("num_prompts"), 1) << "all of the dataset";
}

TEST_F(CliBenchUrl, FailuresAreShownAndNothingCompletedIsAnExitCode) {
  const ScriptedServer on([](const ReceivedCall& call, ScriptedReply& reply) {
    if (call.number == 0) return answer_well(reply);  // the warm-up
    reply.answer(429, R"({"error":{"message":"queue full"}})");
  });
  const ChildResult result = bench(on, {"--served-model-name", "m", "--num-prompts", "4"});
  EXPECT_EQ(result.exit_code, exit_code(Code::io));
  EXPECT_THAT(result.out, HasSubstr("4 x HTTP 429: queue full"));
  EXPECT_EQ(json().at("failures").at(0).at("count"), 4);
  EXPECT_TRUE(json().at("mean_ttft_ms").is_null());
}

TEST_F(CliBenchUrl, WrongOptionsAreRefusedBeforeAnyRequest) {
  const ScriptedServer on = server();
  const auto refused = [&](Code code, const std::string& part, std::vector<std::string> more) {
    const ChildResult result = bench(on, more);
    EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
  };
  refused(Code::bad_request, "--goodput itl:5", {"--goodput", "itl:5"});
  refused(Code::bad_request, "--endpoint /v1/embeddings", {"--endpoint", "/v1/embeddings"});
  refused(Code::bad_request, "--extra-body [", {"--extra-body", "["});
  refused(Code::bad_request, "at least 1", {"--num-prompts", "0"});
  refused(Code::bad_request, "--press excludes --url", {"--press", "knorm", "--ratio", "0.5"});
  refused(Code::bad_request, "--pool excludes --url", {"--pool", "1GiB"});
  refused(Code::bad_request, "--prefill excludes", {"--prefill", "8"});
  refused(Code::bad_request, "--endpoint /v1/completions",
          {"-m", tiny(), "--endpoint", "/v1/chat/completions"});
  refused(Code::not_found, "--served-model-name", {"-m", "meta/none"});
  refused(Code::not_found, "/nowhere.txt", {"--dataset", "/nowhere.txt"});
  EXPECT_TRUE(bodies().empty());
  const ChildResult other = run_fastcache({"bench", "--goodput", "ttft:5"});
  EXPECT_THAT(other.err, HasSubstr("--goodput requires --url"));
  const ChildResult tls = run_fastcache({"bench", "--url", "https://localhost"});
  EXPECT_EQ(tls.exit_code, exit_code(Code::unsupported)) << tls.err;
}

}  // namespace
}  // namespace fastcache
