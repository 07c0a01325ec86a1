// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <exception>
#include <new>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/output.h"

namespace fastcache::cli {
namespace {

constexpr std::array kCommands{add_serve_command,  add_run_command,       add_info_command,
                               add_models_command, add_presses_command,   add_bench_command,
                               add_eval_command,   add_completion_command};

// What CLI11 says of a wrong command line is a usage error of ours.
int usage_error(const CLI::App& program, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
  if (error.get_name() == "FileError")
    return report(fmt::format("the configuration file cannot be read: {}", error.what()), Code::not_found);
  if (error.get_name() != "RequiredError" || !program.get_subcommands().empty())
    return report(error.what(), Code::bad_request);
  std::string commands;  // CLI11 speaks of a missing subcommand even where there is an unknown one
  for (const CLI::App* command : program.get_subcommands({}))
    commands += (commands.empty() ? "" : ", ") + command->get_name();
  const std::vector<std::string> rest = program.remaining();
  const std::string what =
      rest.empty() ? "a command is missing" : fmt::format("there is no command '{}'", rest.front());
  return report(fmt::format("{}; it must be one of {} (--help says more)", what, commands),
                Code::bad_request);
}

int run(int argc, char** argv) {
  CLI::App program{"fastcache: language models whose KV cache is a first-class object"};
  program.set_version_flag("--version", "fastcache " FASTCACHE_VERSION);
  program.require_subcommand(1);
  program.fallthrough();  // --log may stand behind the command
  program.option_defaults()->always_capture_default(false);
  std::string log_level = "warn";
  program.add_option("--log", log_level, "trace, debug, info, warn, error or off")->capture_default_str();
  program.parse_complete_callback([&] { set_log_level(log_level); });
  add_config_option(program);
  program.footer(
      "Exit codes: 0 done, 64 wrong parameter, 65 broken model file, 66 not found, 69 not supported, 70 "
      "fault "
      "of ours, 71 prompt too long, 72 pool too small, 74 input/output, 130 cancelled.");
  int code = 0;
  for (const auto add_command : kCommands) add_command(program, code);
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    code = usage_error(program, error);
  }
  if (code == 0) flush_output();
  return code;
}

}  // namespace
}  // namespace fastcache::cli

int main(int argc, char** argv) {
  using fastcache::Code;
  using fastcache::cli::report;
  try {
    return fastcache::cli::run(argc, argv);
  } catch (const fastcache::Error& error) {
    return report(error.what(), error.code());
  } catch (const std::bad_alloc&) {
    return report("the system has no memory left", Code::internal);
  } catch (const std::exception& error) {
    return report(std::string("internal error: ") + error.what(), Code::internal);
  }
}
