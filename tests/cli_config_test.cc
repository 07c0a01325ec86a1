// SPDX-License-Identifier: Apache-2.0
// `--config` and `completion` as a user meets them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/error.h"
#include "child.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

using model::test_support::TemporaryFolder;
using test_support::ChildResult;
using test_support::run_fastcache;
using testing::HasSubstr;
using testing::Not;

class CliConfig : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) {
    std::ofstream(folder_.file(name), std::ios::binary) << content;
    return folder_.file(name);
  }
  std::string tiny() {
    const std::string path = folder_.file("tiny.gguf");
    model::test_support::write_tiny_model(path, {.context_length = 256});
    return path;
  }
  TemporaryFolder folder_;
};

TEST_F(CliConfig, OptionsOfACommand) {
  const std::string config = write("c.toml", "[run]\nmodel = '" + tiny() + "'\nmax-tokens = 3\nraw = true\n");
  const ChildResult from_file = run_fastcache({"run", "--config", config, "-p", "a b c"});
  EXPECT_EQ(from_file.exit_code, 0) << from_file.err;
  EXPECT_THAT(from_file.err, HasSubstr("3 tokens"));
  const ChildResult from_line = run_fastcache({"--config", config, "run", "-p", "a b c", "-n", "5"});
  EXPECT_EQ(from_line.exit_code, 0) << from_line.err;
  EXPECT_THAT(from_line.err, HasSubstr("5 tokens"));
}

TEST_F(CliConfig, LogLevel) {
  const std::string config = write("c.toml", "log = 'debug'\n[run]\nmodel = '" + tiny() + "'\n");
  EXPECT_THAT(run_fastcache({"run", "--config", config, "-n", "2", "-p", "a"}).err, HasSubstr("kernels: "));
  EXPECT_THAT(run_fastcache({"run", "--config", config, "-n", "2", "-p", "a", "--log", "warn"}).err,
              Not(HasSubstr("kernels: ")));
}

TEST_F(CliConfig, WhatIsWrong) {
  const auto expect = [&](Code code, const std::string& part, const std::vector<std::string>& arguments) {
    const ChildResult result = run_fastcache(arguments);
    EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
    EXPECT_THAT(result.err, HasSubstr(part));
    EXPECT_EQ(result.out, "");
  };
  expect(Code::not_found, "/nowhere/c.toml", {"models", "--config", "/nowhere/c.toml"});
  expect(Code::bad_request, "c.toml:2: run has no option 'modle'; did you mean 'model'?",
         {"models", "--config", write("c.toml", "[run]\nmodle = 'x'\n")});
  expect(Code::bad_request, "d.toml:1: ", {"models", "--config", write("d.toml", "][\n")});
}

// The example must stay right when an option changes its name.
TEST_F(CliConfig, ExampleIsAccepted) {
  const ChildResult result = run_fastcache({"models", "--config", "docs/fastcache.toml"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
}

// What bash would offer for the last word of a command line.
class CliCompletion : public testing::Test {
 protected:
  std::string offers(const std::string& line) {
    const std::string script = folder_.file("complete.sh");
    std::ofstream(script) << run_fastcache({"completion", "bash"}).out << R"(
read -ra COMP_WORDS <<<"$1"
[[ $1 == *' ' ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_fastcache fastcache
echo " ${COMPREPLY[*]} ")";
    const std::string out = folder_.file("out");
    EXPECT_EQ(std::system(("bash -eu " + script + " '" + line + "' > " + out).c_str()), 0);
    std::ifstream file(out);
    std::string words;
    std::getline(file, words);
    return words;
  }
  TemporaryFolder folder_;
};

TEST_F(CliCompletion, Bash) {
  EXPECT_THAT(offers("fastcache "), HasSubstr(" serve run info models presses bench eval completion "));
  EXPECT_EQ(offers("fastcache se"), " serve ");
  EXPECT_EQ(offers("fastcache serve --po"), " --pool --policy --port ");
  EXPECT_EQ(offers("fastcache serve --policy "), " dynamic fcfs ");
  EXPECT_EQ(offers("fastcache serve --kv-type b"), " bf16 ");
  EXPECT_EQ(offers("fastcache serve --port "), "  ");
  EXPECT_EQ(offers("fastcache --log debug run --tem"), " --temperature ");
  EXPECT_EQ(offers("fastcache completion "), " bash zsh fish ");
  EXPECT_EQ(offers("fastcache serve --conf"), " --config ");
  EXPECT_EQ(offers("fastcache serve --config README"), " README.md ");
  EXPECT_EQ(offers("fastcache info README"), " README.md ");
  EXPECT_EQ(offers("fastcache frobnicate --po"), "  ");
}

// Other shells are not on every machine; where they are, they must take the script.
TEST_F(CliCompletion, OtherShellsReadTheirs) {
  for (const std::string shell : {"zsh", "fish"}) {
    const ChildResult script = run_fastcache({"completion", shell});
    EXPECT_EQ(script.exit_code, 0) << script.err;
    EXPECT_THAT(script.out, HasSubstr("serve"));
    if (std::system(("command -v " + shell + " >/dev/null").c_str()) != 0) continue;
    const std::string path = folder_.file(shell);
    std::ofstream(path) << script.out;
    EXPECT_EQ(std::system((shell + " -n " + path).c_str()), 0) << shell;
  }
}

TEST_F(CliCompletion, UnknownShell) {
  const ChildResult result = run_fastcache({"completion", "tcsh"});
  EXPECT_EQ(result.exit_code, exit_code(Code::bad_request));
  EXPECT_THAT(result.err, HasSubstr("tcsh"));
  EXPECT_THAT(run_fastcache({"completion"}).err, HasSubstr("shell"));
}

}  // namespace
}  // namespace fastcache
