// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <exception>
#include <new>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"

namespace fastcache::cli {
namespace {

constexpr std::array kCommands{add_run_command, add_info_command, add_models_command, add_bench_command};

// What CLI11 says of a wrong command line is a usage error of ours.
int usage_error(const CLI::App& program, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
  std::fprintf(stderr, "fastcache: %s\n", error.what());
  return exit_code(Code::bad_request);
}

int run(int argc, char** argv) {
  CLI::App program{"fastcache: language models whose KV cache is a first-class object"};
  program.set_version_flag("--version", "fastcache " FASTCACHE_VERSION);
  program.require_subcommand(1);
  program.option_defaults()->always_capture_default(false);
  std::string log_level = "warn";
  program.add_option("--log", log_level, "trace, debug, info, warn, error or off")->capture_default_str();
  program.parse_complete_callback([&] { set_log_level(log_level); });
  program.footer(
      "Exit codes: 0 done, 64 wrong parameter, 65 broken model file, 66 not found, 69 not supported, 71 "
      "prompt "
      "too long, 72 pool too small, 74 input/output, 130 cancelled.");
  int code = 0;
  for (const auto add_command : kCommands) add_command(program, code);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return usage_error(program, error);
  }
  return code;
}

}  // namespace
}  // namespace fastcache::cli

int main(int argc, char** argv) {
  using fastcache::Code;
  try {
    return fastcache::cli::run(argc, argv);
  } catch (const fastcache::Error& error) {
    std::fprintf(stderr, "fastcache: %s\n", error.what());
    return fastcache::exit_code(error.code());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "fastcache: the system has no memory left\n");
    return fastcache::exit_code(Code::internal);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fastcache: internal error: %s\n", error.what());
    return fastcache::exit_code(Code::internal);
  }
}
