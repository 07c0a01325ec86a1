// SPDX-License-Identifier: Apache-2.0
// `fastcache serve`: an HTTP server that OpenAI's clients understand.
#include <unistd.h>

#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/serve_options.h"
#include "server/server.h"

namespace fastcache::cli {
namespace {

int run(ServeOptions options) {
  finish(options);
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const server::ServerEvents events{
      .listening = [](const std::string& url) { log().info("listening on {}; loading the model", url); },
      .ready =
          [terminal](const std::string& url) {
            log().info("ready: {}", url);
            if (terminal) say(fmt::format("open {} in a browser; Ctrl-C ends the server", url));
          }};
  return server::run_server(options.server, events);
}

}  // namespace

void add_serve_command(CLI::App& program, int& exit_code) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = program.add_subcommand("serve", "answer OpenAI's API over HTTP");
  add_serve_options(*command, *options);
  command->callback([options, &program, &exit_code] {
    if (program.count("--log") == 0) set_log_level("info");  // a server says what it does
    exit_code = run(*options);
  });
}

}  // namespace fastcache::cli
