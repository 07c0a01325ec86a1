// SPDX-License-Identifier: Apache-2.0
// `fastcache` in daily use: answers, what stands where, the same answer whatever the chunking and the
// threads.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu_features.h"
#include "base/error.h"
#include "child.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using model::test_support::TemporaryFolder;
using test_support::ChildInput;
using test_support::ChildResult;
using test_support::run_fastcache;

class Cli : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    model::test_support::write_tiny_model(tiny(), {.context_length = 2048, .seed = 5});
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string file(const std::string& name) { return folder_->file(name); }
  static std::string tiny() { return file("tiny.gguf"); }

  // An answer of the tiny model, which must come.
  static ChildResult run(std::vector<std::string> more, const ChildInput& input = {}) {
    more.insert(more.begin(), {"run", "-m", tiny()});
    const ChildResult result = run_fastcache(more, input);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return result;
  }

 private:
  static inline std::unique_ptr<TemporaryFolder> folder_;
};

const std::string& long_prompt() {
  static const std::string text = [] {
    std::string words;
    for (int i = 0; i < 200; ++i) words.append("w").append(std::to_string(i % 37)).append(" ");
    return words;
  }();
  return text;
}

TEST_F(Cli, AnswerOnStandardOutputStatisticsOnStandardError) {
  const ChildResult loud = run({"-p", "a b c", "-n", "20", "--raw"});
  EXPECT_GT(loud.out.size(), 5u);
  EXPECT_TRUE(loud.out.ends_with('\n'));
  EXPECT_EQ(loud.out.find("tok/s"), std::string::npos);
  EXPECT_NE(loud.err.find("tok/s"), std::string::npos);
  EXPECT_NE(loud.err.find("| length]"), std::string::npos);
  const ChildResult quiet = run({"-p", "a b c", "-n", "20", "--raw", "-q"});
  EXPECT_EQ(quiet.out, loud.out);
  EXPECT_EQ(quiet.err, "");
}

TEST_F(Cli, LogLevel) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--log", "debug", "run", "-m", tiny(), "-n", "2", "-p", "a"},
        {"run", "-m", tiny(), "-n", "2", "-p", "a", "--log", "debug"}}) {
    const ChildResult result = run_fastcache(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_NE(result.err.find("kernels: "), std::string::npos) << result.err;
  }
}

TEST_F(Cli, PromptFromStandardInput) {
  const std::string expected = run({"-p", "a b c", "-n", "20"}).out;
  EXPECT_EQ(run({"-n", "20"}, {.text = "a b c"}).out, expected);
  EXPECT_EQ(run({"-n", "20"}, {.text = "a b c\n"}).out, expected);
}

TEST_F(Cli, SameAnswerForAnyChunkAndThreads) {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::avx512, Isa::avx2, Isa::portable}) {
    if (isa_supported(isa, cpu_features())) isas.push_back(isa);
  }
  for (const std::string type : {"f32", "bf16", "int8"}) {
    for (const Isa isa : isas) {  // instruction sets may differ in their last bits, each from the others
      const ChildInput forced{.environment = {std::string("FASTCACHE_ISA=") + isa_name(isa)}};
      std::string expected;
      for (const auto& [chunk, threads] : {std::pair{"512", "1"}, {"512", "2"}, {"1", "1"}, {"7", "2"}}) {
        SCOPED_TRACE(type + " " + isa_name(isa) + " chunk " + chunk + " threads " + threads);
        const std::string answer = run({"-p", long_prompt(), "-n", "24", "--raw", "-q", "--kv-type", type,
                                        "--chunk", chunk, "-t", threads, "--pool", "64MiB"},
                                       forced)
                                       .out;
        if (expected.empty()) expected = answer;
        EXPECT_EQ(answer, expected);
      }
    }
  }
}

TEST_F(Cli, SeedsDecideASampledAnswer) {
  const auto sampled = [](const std::string& seed) {
    return run({"-p", "a b c", "-n", "30", "--raw", "-q", "--temperature", "1.5", "--seed", seed}).out;
  };
  EXPECT_EQ(sampled("7"), sampled("7"));
  EXPECT_NE(sampled("7"), sampled("8"));
  // Too small to divide by: greedy.
  EXPECT_EQ(run({"-p", "a b c", "-n", "30", "--raw", "-q", "--temperature", "1e-38"}).out,
            run({"-p", "a b c", "-n", "30", "--raw", "-q"}).out);
}

// "!" is a byte token, a space and BOS come in front: n exclamation marks are n + 2 tokens.
TEST_F(Cli, AnswersEndWithTheContext) {
  const ChildResult last = run({"-p", std::string(2048 - 3, '!'), "--raw"});
  EXPECT_NE(last.err.find("[2047 prompt tokens"), std::string::npos) << last.err;
  EXPECT_NE(last.err.find("| 1 tokens"), std::string::npos) << last.err;
  EXPECT_NE(last.err.find("fastcache: the answer ends here because the model's context"), std::string::npos);
  const ChildResult over = run_fastcache({"run", "-m", tiny(), "--raw", "-p", std::string(2048 - 2, '!')});
  EXPECT_EQ(over.exit_code, exit_code(Code::context_too_long)) << over.err;
}

TEST_F(Cli, AnswersEndWithThePool) {
  // 4 (layer, head) pairs, pages of 16 rows of 2 x 16 x 2 bytes: 40 pages hold 160 rows.
  const ChildResult result = run({"-p", std::string(100, '!'), "--raw", "--pool", "40KiB", "-q"});
  EXPECT_NE(result.err.find("fastcache: the answer ends here because the KV pool is full"), std::string::npos)
      << result.err;
  EXPECT_GT(result.out.size(), 10u);
}

TEST_F(Cli, InterruptEndsAnAnswer) {
  for (const std::string chunk : {"512", "1"}) {
    const ChildResult result = run_fastcache({"run", "-m", tiny(), "--raw", "-p", "a", "-n", "2000", "-t",
                                              "1", "--chunk", chunk, "--temperature", "1"},
                                             {.interrupt_after = "w"});
    EXPECT_EQ(result.signal, 0);
    EXPECT_EQ(result.exit_code, exit_code(Code::cancelled)) << result.err;
    EXPECT_NE(result.err.find("| cancelled]"), std::string::npos) << result.err;
    EXPECT_TRUE(result.out.ends_with('\n'));
  }
}

TEST_F(Cli, InfoSaysWhatTheCacheCosts) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"info", tiny()}, {"info", "-m", tiny()}}) {
    const ChildResult result = run_fastcache(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    for (const char* part :
         {"llama", "KV bf16", "256 bytes per token", "a pool of 1.0 GiB holds", "2048 tokens"})
      EXPECT_NE(result.out.find(part), std::string::npos) << part << " is not in\n" << result.out;
  }
}

TEST_F(Cli, InfoOfAModelThatCannotBeRun) {
  model::test_support::write_tiny_model(file("other.gguf"), {.architecture = "hyena9000"});
  const ChildResult result = run_fastcache({"info", file("other.gguf")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("cannot be run"), std::string::npos) << result.out;
}

TEST_F(Cli, ModelsOfACacheFolder) {
  const ChildInput here{.environment = {"FASTCACHE_CACHE=" + file("cache")}};
  const ChildResult none = run_fastcache({"models"}, here);
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(none.out, "");
  EXPECT_NE(none.err.find("make setup"), std::string::npos);
  std::filesystem::create_directories(file("cache/models"));
  std::filesystem::copy_file(tiny(), file("cache/models/small.gguf"));
  EXPECT_NE(run_fastcache({"models"}, here).out.find("small"), std::string::npos);
  EXPECT_EQ(run_fastcache({"run", "-m", "small", "-p", "a", "-n", "2"}, here).exit_code, 0);
}

TEST_F(Cli, HelpSaysUnitsAndDefaults) {
  const auto help = [](const std::string& command) {
    const ChildResult result = run_fastcache({command, "--help"});
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, "");
    return result.out;
  };
  for (const char* part : {"GGUF file", "[the embedded model]", "512MiB or 2GiB", "=1GiB", "in tokens",
                           "=512", "0 = one per core", "=bf16", "=0.95"})
    EXPECT_NE(help("run").find(part), std::string::npos) << part;
  EXPECT_NE(help("bench").find("in tokens [1000,4000]"), std::string::npos);
  for (const char* part : {"per second, 0 or inf = all at once", "=dynamic", "each random prompt, in tokens"})
    EXPECT_NE(help("bench").find(part), std::string::npos) << part;
  EXPECT_NE(help("info").find("=1GiB"), std::string::npos);
  EXPECT_NE(help("models").find("cache folder"), std::string::npos);
  const std::string program = run_fastcache({"--help"}).out;
  for (const char* part : {"run", "info", "models", "bench", "Exit codes", "130 cancelled"})
    EXPECT_NE(program.find(part), std::string::npos) << part;
  EXPECT_TRUE(run_fastcache({"--version"}).out.starts_with("fastcache "));
}

TEST_F(Cli, BenchWritesATableAndJson) {
  const ChildResult result = run_fastcache({"bench", "-m", tiny(), "-t", "1", "--repeat", "1", "--prefill",
                                            "8,100", "--decode-depth", "0", "--decode-tokens", "1", "--batch",
                                            "2x20x3", "--json", file("bench.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("prefill 8"), std::string::npos);
  std::ifstream json_file(file("bench.json"));
  const auto json = nlohmann::json::parse(json_file);
  EXPECT_EQ(json.at("prefill").size(), 2u);
  EXPECT_GT(json.at("decode").at(0).at("tokens_per_s").get<double>(), 0);
}

TEST_F(Cli, BenchOfRequestsWritesATableAndJson) {
  const ChildResult result = run_fastcache(
      {"bench", "-m", tiny(), "-t", "1", "--requests", "4", "--rate", "200", "--prompt-tokens", "100",
       "--generate-tokens", "5", "--press", "knorm", "--ratio", "0.5", "--json", file("serving.json")});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("TTFT"), std::string::npos);
  EXPECT_NE(result.out.find("seed 0"), std::string::npos);
  std::ifstream json_file(file("serving.json"));
  const auto json = nlohmann::json::parse(json_file);
  EXPECT_EQ(json.at("completed"), 4);
  EXPECT_EQ(json.at("total_output_tokens"), 20);
  EXPECT_EQ(json.at("rows_after_compression"), 4 * 4 * 50);  // 2 layers, 2 KV heads
  for (const std::string of : {"ttft", "tpot", "itl", "e2el"}) {
    for (const std::string which : {"mean_", "median_", "p99_"})
      EXPECT_GT(json.at(which + of + "_ms").get<double>(), 0) << which << of;
  }
}

TEST(CliEmbedded, KnowsTheCapitalOfFrance) {
  if (model::list_models().empty()) GTEST_SKIP() << "the embedded model is not there";
  const ChildResult raw = run_fastcache({"run", "--raw", "-q", "-n", "4", "-p", "The capital of France is"});
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_TRUE(raw.out.starts_with(" Paris")) << raw.out;
  const ChildResult chat = run_fastcache({"run", "-n", "24", "-p", "Name the capital of France."});
  EXPECT_NE(chat.out.find("Paris"), std::string::npos) << chat.out;
  EXPECT_EQ(chat.out.find("<|im_"), std::string::npos) << chat.out;
}

}  // namespace
}  // namespace fastcache
