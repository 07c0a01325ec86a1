// SPDX-License-Identifier: Apache-2.0
// Whatever is wrong from outside, the program says in one sentence on standard error, and leaves with the
// exit code of that kind of error.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>

#include "base/error.h"
#include "base/test_seed.h"
#include "child.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

namespace fs = std::filesystem;
using model::test_support::TemporaryFolder;
using model::test_support::write_tiny_model;
using test_support::ChildInput;
using test_support::ChildResult;
using test_support::run_fastcache;

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write_file(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

int lines_from_us(const std::string& text) {
  std::istringstream lines(text);
  int n = 0;
  for (std::string line; std::getline(lines, line);) n += line.starts_with("fastcache: ") ? 1 : 0;
  return n;
}

void expect_error(Code code, const std::string& part, const std::vector<std::string>& arguments,
                  const ChildInput& input = {}) {
  std::string command = "fastcache";
  for (const std::string& argument : arguments) command.append(1, ' ').append(argument, 0, 60);
  SCOPED_TRACE(command);
  const ChildResult result = run_fastcache(arguments, input);
  EXPECT_EQ(result.signal, 0);
  EXPECT_EQ(result.exit_code, exit_code(code)) << result.err;
  EXPECT_EQ(lines_from_us(result.err), 1) << result.err;
  EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  EXPECT_EQ(result.err.find('\x1b'), std::string::npos);
  EXPECT_TRUE(result.err.ends_with('\n'));
  EXPECT_EQ(result.out, "");
}

class CliErrors : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    write_tiny_model(tiny(), {.context_length = 256});
  }
  static void TearDownTestSuite() { folder_.reset(); }
  static std::string file(const std::string& name) { return folder_->file(name); }
  static std::string tiny() { return file("tiny.gguf"); }

  // `run` with a prompt on the tiny model, and more options.
  static std::vector<std::string> run(std::vector<std::string> more) {
    std::vector<std::string> arguments{"run", "-m", tiny(), "-t", "1", "-n", "4", "-p", "a b c"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

 private:
  static inline std::unique_ptr<TemporaryFolder> folder_;
};

TEST_F(CliErrors, CommandLine) {
  expect_error(Code::bad_request, "a command is missing", {});
  expect_error(Code::bad_request, "no command 'frobnicate'; it must be one of serve, run", {"frobnicate"});
  expect_error(Code::bad_request, "--frobnicate", run({"--frobnicate"}));
  expect_error(Code::bad_request, "--frobnicate", {"models", "--frobnicate"});
  expect_error(Code::bad_request, "a\xEF\xBF\xBD [2J b", {"models", "a\xFF\x1b[2J\nb"});
  expect_error(Code::bad_request, "loud", {"--log", "loud", "models"});
  expect_error(Code::bad_request, "loud", run({"--log", "loud"}));
  expect_error(Code::bad_request, "--raw", run({"--raw", "--system", "x"}));
}

TEST_F(CliErrors, Numbers) {
  expect_error(Code::bad_request, "temperature", run({"--temperature", "-1"}));
  expect_error(Code::bad_request, "temperature", run({"--temperature", "nan"}));
  expect_error(Code::bad_request, "temperature", run({"--temperature", "inf"}));
  expect_error(Code::bad_request, "temperature", run({"--temperature", "hot"}));
  expect_error(Code::bad_request, "top_p", run({"--top-p", "2"}));
  expect_error(Code::bad_request, "min_p", run({"--min-p", "-0.1"}));
  expect_error(Code::bad_request, "top_k", run({"--top-k", "-1"}));
  expect_error(Code::bad_request, "--seed", run({"--seed", "-1"}));
  expect_error(Code::bad_request, "--max-tokens", {"run", "-m", tiny(), "-p", "a", "-n", "0"});
  expect_error(Code::bad_request, "--max-tokens", {"run", "-m", tiny(), "-p", "a", "-n", "1e3"});
  expect_error(Code::bad_request, "--threads", {"run", "-m", tiny(), "-p", "a", "-t", "9999"});
  expect_error(Code::bad_request, "--threads", {"run", "-m", tiny(), "-p", "a", "-t", "-1"});
  expect_error(Code::bad_request, "--chunk", run({"--chunk", "0"}));
  expect_error(Code::bad_request, "fp4", run({"--kv-type", "fp4"}));
  expect_error(Code::bad_request, "avx1024", run({}), {.environment = {"FASTCACHE_ISA=avx1024"}});
}

TEST_F(CliErrors, Pool) {
  expect_error(Code::pool_too_small, "pool", run({"--pool", "100"}));
  expect_error(Code::pool_too_small, "pool", run({"--pool", "0"}));
  expect_error(Code::pool_too_small, "KV", run({"--pool", "8KiB"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "1e30"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "-1"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "999999999999999999999"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "99999999999GiB"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "much"}));
  expect_error(Code::bad_request, "pages", run({"--pool", "100000TiB"}));
  expect_error(Code::bad_request, "is no size", run({"--pool", "1.5XiB"}));
}

TEST_F(CliErrors, Prompt) {
  const auto with = [](const std::string& prompt) {
    return std::vector<std::string>{"run", "-m", tiny(), "-t", "1", "-p", prompt};
  };
  expect_error(Code::bad_request, "empty", with(""));
  expect_error(Code::bad_request, "UTF-8", with("abc\xFF"));
  expect_error(Code::context_too_long, "256", with(std::string(400, '!')));
  const std::vector<std::string> from_stdin{"run", "-m", tiny(), "-t", "1"};
  expect_error(Code::bad_request, "empty", from_stdin, {.text = ""});
  expect_error(Code::bad_request, "empty", from_stdin, {.text = "\n"});
  expect_error(Code::bad_request, "UTF-8", from_stdin, {.text = "\xC3"});
  expect_error(Code::context_too_long, "256", from_stdin, {.text = std::string(100000, '!')});
  std::vector<std::string> system = with("a");
  system.insert(system.end(), {"--system", "\xFF"});
  expect_error(Code::bad_request, "UTF-8", system);
}

TEST_F(CliErrors, ModelFile) {
  for (const std::string command : {"run", "info", "bench"}) {
    const auto on = [&](const std::string& path) {
      std::vector<std::string> arguments{command, "-m", path};
      if (command == "run") arguments.insert(arguments.end(), {"-t", "1", "-p", "a"});
      return arguments;
    };
    expect_error(Code::not_found, "nowhere.gguf", on(file("nowhere.gguf")));
    expect_error(Code::not_found, "no-such-name", on("no-such-name"));
    expect_error(Code::bad_request, "directory", on(file("")));
    write_file(file("empty.gguf"), "");
    expect_error(Code::invalid_model, "empty.gguf", on(file("empty.gguf")));
    write_file(file("text.gguf"), "This is not a model.\n");
    expect_error(Code::invalid_model, "text.gguf", on(file("text.gguf")));
    const std::string whole = read_file(tiny());
    for (const size_t n : {4u, 23u, 24u, 100u, 5000u, static_cast<unsigned>(whole.size() - 1)}) {
      write_file(file("cut.gguf"), whole.substr(0, n));
      expect_error(Code::invalid_model, "cut.gguf", on(file("cut.gguf")));
    }
  }
  write_tiny_model(file("other.gguf"), {.architecture = "hyena9000"});
  expect_error(Code::unsupported, "hyena9000", {"run", "-m", file("other.gguf"), "-p", "a"});
  expect_error(Code::unsupported, "hyena9000", {"bench", "-m", file("other.gguf")});
}

// Any single wrong bit in the description of the model: an answer, or one sentence.
TEST_F(CliErrors, BitFlips) {
  const std::string whole = read_file(tiny());
  std::mt19937_64 random(test_seed());
  const size_t header = std::min<size_t>(whole.size(), 16000);
  for (int round = 0; round < 48; ++round) {
    std::string broken = whole;
    // Half of them where the keys are: the vocabulary is most of the header.
    const size_t at = random() % (round % 2 == 0 ? 1200 : header);
    broken[at] = static_cast<char>(broken[at] ^ (1 << random() % 8));
    write_file(file("flipped.gguf"), broken);
    const ChildResult result =
        run_fastcache({"run", "-m", file("flipped.gguf"), "-t", "1", "-n", "2", "--raw", "-p", "abc"});
    SCOPED_TRACE("byte " + std::to_string(at));
    EXPECT_EQ(result.signal, 0);
    if (result.exit_code == 0) continue;
    EXPECT_TRUE(result.exit_code == exit_code(Code::invalid_model) ||
                result.exit_code == exit_code(Code::unsupported) ||
                result.exit_code == exit_code(Code::context_too_long) ||
                result.exit_code == exit_code(Code::pool_too_small))
        << result.exit_code << ": " << result.err;
    EXPECT_EQ(lines_from_us(result.err), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

// Weights that are no numbers: neither greedy decoding nor sampling may go on as if they were.
TEST_F(CliErrors, WeightsThatAreNaN) {
  std::string whole = read_file(tiny());
  std::fill(whole.end() - 40000, whole.end(), '\xFF');
  write_file(file("nan.gguf"), whole);
  for (const std::string temperature : {"0", "1"}) {
    expect_error(Code::invalid_model, "finite",
                 {"run", "-m", file("nan.gguf"), "-t", "1", "-p", "a", "--temperature", temperature});
  }
}

TEST_F(CliErrors, OutputThatCannotBeWritten) {
  const ChildInput full{.out_path = "/dev/full"};
  expect_error(Code::io, "standard output", run({}), full);
  expect_error(Code::io, "standard output", {"info", "-m", tiny()}, full);
  expect_error(Code::io, "standard output", {"--help"}, full);
  expect_error(Code::io, "/nowhere/x.json",
               {"bench", "-m", tiny(), "-t", "1", "--prefill", "8", "--json", "/nowhere/x.json"});
}

TEST_F(CliErrors, Bench) {
  const auto bench = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"bench", "-m", tiny(), "-t", "1", "--repeat", "1"});
    return more;
  };
  expect_error(Code::bad_request, "--batch", bench({"--batch", "1x2"}));
  expect_error(Code::bad_request, "--batch", bench({"--batch", "0x2x3"}));
  expect_error(Code::bad_request, "--batch", bench({"--batch", "99999999999x1x1"}));
  expect_error(Code::bad_request, "prefill", bench({"--prefill", "0"}));
  expect_error(Code::bad_request, "prefill", bench({"--prefill", "-3"}));
  expect_error(Code::context_too_long, "256", bench({"--prefill", "4000"}));
  expect_error(Code::bad_request, "depth", bench({"--decode-depth", "-5"}));
  expect_error(Code::context_too_long, "256", bench({"--decode-depth", "2147483647"}));
  expect_error(Code::bad_request, "--repeat", {"bench", "--repeat", "0"});
}

TEST_F(CliErrors, BenchOfRequests) {
  const auto bench = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"bench", "-m", tiny(), "-t", "1"});
    return more;
  };
  expect_error(Code::bad_request, "at least 1", bench({"--requests", "0"}));
  expect_error(Code::bad_request, "--rate requires --requests", bench({"--rate", "1"}));
  expect_error(Code::bad_request, "rate of nan", bench({"--requests", "2", "--rate", "nan"}));
  expect_error(Code::bad_request, "--prefill", bench({"--requests", "2", "--prefill", "8"}));
  expect_error(Code::bad_request, "--ratio", bench({"--requests", "2", "--ratio", "0.5"}));
  const std::vector<std::string> fits{"--requests", "2", "--prompt-tokens", "100"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), fits.begin(), fits.end());
    return bench(more);
  };
  expect_error(Code::context_too_long, "context of 256", with({"--generate-tokens", "157"}));
  expect_error(Code::pool_too_small, "100 prompt tokens", with({"--pool", "16KiB"}));
  expect_error(Code::not_found, "press 'squash'", with({"--press", "squash", "--ratio", "0.5"}));
  expect_error(Code::bad_request, "\"lifo\"", with({"--policy", "lifo"}));
}

}  // namespace
}  // namespace fastcache
