// SPDX-License-Identifier: Apache-2.0
// Scripts that complete the program's command line in a shell, made from the parser itself.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace fastcache::cli {

// What shells are offered, of the program or of one command.
struct CompletionOption {
  std::vector<std::string> names;  // "--model", "-m"
  bool is_argument = false;        // may stand without a name
  std::string help;                // one line
  bool takes_value = false;
  bool takes_file = false;           // any text may be a file's name
  std::vector<std::string> choices;  // if nothing else is allowed
};

struct CompletionCommand {
  std::string name;  // empty: the program
  std::string help;
  std::vector<CompletionOption> options;  // the program's own are allowed behind every command
};

// The program first, then its commands.
std::vector<CompletionCommand> completion_commands(const CLI::App& program);

std::string bash_completion(const std::vector<CompletionCommand>& commands);
std::string zsh_completion(const std::vector<CompletionCommand>& commands);
std::string fish_completion(const std::vector<CompletionCommand>& commands);

}  // namespace fastcache::cli
