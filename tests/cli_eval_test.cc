// SPDX-License-Identifier: Apache-2.0
// `fastcache eval` as a user runs it, on a tiny model and a folder of texts.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

namespace fs = std::filesystem;
using test_support::ChildResult;
using test_support::run_fastcache;
using test_support::TerminalChild;

class CliEval : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<model::test_support::TemporaryFolder>();
    model::test_support::write_tiny_model(file("tiny.gguf"), {.context_length = 1024});
    fs::create_directories(file("data"));
    fs::create_directories(file("nothing"));
    for (int i = 0; i < 2; ++i) {
      std::ofstream out(file("data/" + std::to_string(i)));
      for (int line = 0; line < 80; ++line) out << "line " << line * i << " of text " << i << '\n';
    }
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string file(const std::string& name) { return folder_->file(name); }
  static std::string read(const std::string& name) {
    std::ifstream in(file(name));
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // On two texts with one press; what `more` says replaces that.
  static ChildResult eval(const std::vector<std::string>& more) { return run_fastcache(arguments(more)); }
  static std::vector<std::string> arguments(const std::vector<std::string>& more) {
    const std::vector<std::pair<std::string, std::string>> standard{
        {"-m", file("tiny.gguf")},       {"--data", file("data")}, {"--context", "400"},
        {"--continuation", "40"},        {"--documents", "2"},     {"--examples", "0"},
        {"--press", "snapkv(window=16)"}};
    std::vector<std::string> arguments{"eval"};
    for (const auto& [option, value] : standard) {
      if (std::find(more.begin(), more.end(), option) != more.end()) continue;
      arguments.push_back(option);
      arguments.push_back(value);
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  static void expect_error(Code code, const std::string& part, const std::vector<std::string>& more) {
    const ChildResult result = eval(more);
    EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  }

 private:
  static inline std::unique_ptr<model::test_support::TemporaryFolder> folder_;
};

TEST_F(CliEval, TableJsonPageAndMarkdown) {
  const ChildResult result = eval({"--removed", "0.5,0.75", "--json", file("r.json"), "--html",
                                   file("r.html"), "--markdown", file("r.md")});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");  // no terminal, no progress
  for (const char* part :
       {"Context gain retained", "random *", "streaming_llm *", "snapkv(window=16)", "75 %"})
    EXPECT_NE(result.out.find(part), std::string::npos) << part << "\n" << result.out;
  const nlohmann::json json = nlohmann::json::parse(read("r.json"));
  EXPECT_EQ(json["text"]["rows"].size(), 6u);
  EXPECT_EQ(json["options"]["removed"], (std::vector<double>{0.5, 0.75}));
  EXPECT_NE(read("r.html").find("id=\"data\">{"), std::string::npos);
  EXPECT_NE(read("r.md").find("| snapkv(window=16) |"), std::string::npos);
}

TEST_F(CliEval, JsonOnStandardOutput) {
  const ChildResult result = eval({"--quick", "--json", "-"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["options"]["removed"], (std::vector<double>{0.5, 0.8}));  // of --quick
  EXPECT_EQ(json["options"]["context_tokens"], 400);                       // said besides
}

TEST_F(CliEval, InterruptKeepsWhatWasMeasured) {
  TerminalChild child(
      arguments({"--examples", "10000", "--lengths", "600", "--removed", "0.5", "--json", file("s.json")}));
  child.wait_for("needle");
  child.type("\x03");
  child.wait_for("stopped; this is what was measured: 2 of 2 documents, 0 of 3 tasks");
  EXPECT_EQ(child.wait_for_exit(), exit_code(Code::cancelled));
  const nlohmann::json json = nlohmann::json::parse(read("s.json"));
  EXPECT_EQ(json["complete"], false);
  EXPECT_EQ(json["text"]["rows"].size(), 3u);
  EXPECT_EQ(json["tasks"].size(), 0u);
}

TEST_F(CliEval, SaysWhatIsWrong) {
  expect_error(Code::not_found, "there are none, random", {"--press", "snapkw"});
  expect_error(Code::bad_request, "--removed 1.5", {"--removed", "0.5,1.5"});
  expect_error(Code::bad_request, "--removed 0", {"--removed", "0"});
  expect_error(Code::bad_request, "--removed says", {"--press", "knorm(ratio=0.5)"});
  expect_error(Code::bad_request, "no text in it", {"--data", file("nothing")});
  expect_error(Code::not_found, "no such file", {"--data", file("missing")});
  std::ofstream(file("short.txt")) << "a few words\n";
  expect_error(Code::bad_request, "none has 441 tokens", {"--data", file("short.txt")});
  expect_error(Code::context_too_long, "context holds 1024", {"--context", "2000"});
  expect_error(Code::context_too_long, "--lengths 4096", {"--examples", "1", "--lengths", "4096"});
  expect_error(Code::io, "cannot be written", {"--json", file("no/such/folder.json")});
  expect_error(Code::io, "cannot be written", {"--html", file("no/such/folder.html")});
  expect_error(Code::not_found, "--chart-js", {"--html", file("x.html"), "--chart-js", file("missing.js")});
}

}  // namespace
}  // namespace fastcache
