// SPDX-License-Identifier: Apache-2.0
#include "cli/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "cli/options.h"
#include "model/testing/tiny_model.h"

namespace fastcache::cli {
namespace {

using model::test_support::TemporaryFolder;
using testing::HasSubstr;

class ConfigFile : public testing::Test {
 protected:
  std::string path() const { return folder_.file("c.toml"); }

  // Parses a command line with a file of this content; what the program would then do stands in the fields.
  void parse(const std::string& toml, std::vector<std::string> arguments = {"serve"}) {
    std::ofstream(path(), std::ios::binary) << toml;
    CLI::App program;
    program.fallthrough();
    program.require_subcommand(1);
    program.add_option("--log", log);
    add_config_option(program);
    CLI::App* serve = program.add_subcommand("serve");
    serve->add_option("--port", port)->check(CLI::Range(0, 65535));
    serve->add_option("--host", host);
    serve->add_option("--share", share);
    serve->add_option("--batch", batch)->delimiter(',');
    serve->add_flag("--quiet", quiet);
    serve->add_flag_callback("--no-cache", [this] { cache = false; });
    add_pool_option(*serve, model);
    program.add_subcommand("other")->add_option("--port", other_port);
    arguments.insert(arguments.end(), {"--config", path()});
    std::ranges::reverse(arguments);  // CLI11 takes them from the end
    program.parse(arguments);
  }

  std::string error_of(const std::string& toml) {
    try {
      parse(toml);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
      const std::string sentence = error.what();
      EXPECT_TRUE(sentence.starts_with(path() + ":")) << sentence;
      return sentence.substr(path().size() + 1);
    }
    ADD_FAILURE() << "accepted: " << toml;
    return "";
  }

  TemporaryFolder folder_;
  std::string log, host;
  int port = 1, other_port = 1;
  double share = 0;
  std::vector<int> batch;
  bool quiet = false, cache = true;
  ModelOptions model;
};

TEST_F(ConfigFile, SetsWhatTheCommandLineDoesNot) {
  parse(R"(
    log = "info"
    [serve]
    port = 8000
    host = "::1"
    share = 0.25
    batch = [1, 2, 3]
    quiet = true
    no-cache = true
    pool = "2GiB"
    [other]
    port = 5
  )",
        {"serve", "--port", "9000"});
  EXPECT_EQ(log, "info");
  EXPECT_EQ(port, 9000);
  EXPECT_EQ(host, "::1");
  EXPECT_EQ(share, 0.25);
  EXPECT_EQ(batch, (std::vector{1, 2, 3}));
  EXPECT_TRUE(quiet);
  EXPECT_FALSE(cache);
  EXPECT_EQ(model.pool_bytes, uint64_t{2} << 30);
  EXPECT_EQ(other_port, 1) << "of a command that does not run";
}

TEST_F(ConfigFile, FalseLeavesAFlagOut) {
  parse("[serve]\nquiet = false\nno-cache = false\n");
  EXPECT_FALSE(quiet);
  EXPECT_TRUE(cache);
}

TEST_F(ConfigFile, EmptyFile) { parse(""); }

TEST_F(ConfigFile, UnknownKeys) {
  EXPECT_THAT(error_of("[serve]\n\nprot = 1\n"),
              HasSubstr("3: serve has no option 'prot'; did you mean 'port'?"));
  EXPECT_THAT(error_of("[serve]\nfrobnicate = 1\n"),
              HasSubstr("2: serve has no option 'frobnicate'; it must be one of"));
  EXPECT_THAT(error_of("lag = 'info'\n"),
              HasSubstr("1: the program has no option 'lag'; did you mean 'log'?"));
  EXPECT_THAT(error_of("port = 1\n"), HasSubstr("1: 'port' is an option of a command; it must stand in"));
  EXPECT_THAT(error_of("[frob]\nport = 1\n"),
              HasSubstr("there is no command 'frob'; it must be one of serve, other"));
  EXPECT_THAT(error_of("[serve.inner]\nport = 1\n"), HasSubstr("there can be no table 'inner' here"));
  EXPECT_THAT(error_of("[other]\nprot = 1\n"), HasSubstr("2: other has no option 'prot'"));
  EXPECT_THAT(error_of("config = 'x'\n"), HasSubstr("'config'"));
  EXPECT_THAT(error_of("help = true\n"), HasSubstr("'help'"));
}

TEST_F(ConfigFile, WrongTypes) {
  EXPECT_THAT(error_of("[serve]\nport = true\n"), HasSubstr("2: 'port' takes a value, not true or false"));
  EXPECT_THAT(error_of("[serve]\nport = [1]\n"), HasSubstr("2: 'port' takes one value, no list"));
  EXPECT_THAT(error_of("[serve]\nport = 'many'\n"), HasSubstr("2: "));
  EXPECT_THAT(error_of("[serve]\nport = 1.5\n"), HasSubstr("--port"));
  EXPECT_THAT(error_of("[serve]\nport = 70000\n"), HasSubstr("--port"));
  EXPECT_THAT(error_of("[serve]\nport = 1979-05-27\n"), HasSubstr("'port' must be a number or a text"));
  EXPECT_THAT(error_of("[serve]\nhost = 5\n"), HasSubstr("'host' must be a text in quotes"));
  EXPECT_THAT(error_of("[serve]\nquiet = 1\n"), HasSubstr("'quiet' must be true or false"));
  EXPECT_THAT(error_of("[serve]\nbatch = [1, true]\n"), HasSubstr("'batch' must be a number or a text"));
  EXPECT_THAT(error_of("[serve]\npool = 'much'\n"), HasSubstr("2: 'pool': 'much' is no size"));
  EXPECT_THAT(error_of("serve = 1\n"), HasSubstr("1: the program has no option 'serve'"));
  EXPECT_THAT(error_of("[other]\nport = true\n"), HasSubstr("'port' takes a value"));
}

TEST_F(ConfigFile, BrokenFiles) {
  EXPECT_THAT(error_of("[serve]\nport = \n"), HasSubstr("2: "));
  EXPECT_THAT(error_of("[serve\n"), HasSubstr("1: "));
  EXPECT_THAT(error_of("[serve]\nport = 1\nport = 2\n"), HasSubstr("3: "));
  EXPECT_THAT(error_of("log = '\xff'\n"), HasSubstr("1: "));
  EXPECT_THAT(error_of(std::string("log = 'a\0b'\n", 12)), HasSubstr("1: "));
}

TEST_F(ConfigFile, FileThatIsNotThere) {
  CLI::App program;
  add_config_option(program);
  std::vector<std::string> arguments{"/nowhere/c.toml", "--config"};
  EXPECT_THROW(program.parse(arguments), CLI::FileError);
}

}  // namespace
}  // namespace fastcache::cli
