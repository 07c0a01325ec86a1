// SPDX-License-Identifier: Apache-2.0
// `fastcache completion`: what a shell reads to complete our command line.
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/completion.h"

namespace fastcache::cli {

void add_completion_command(CLI::App& program, int& exit_code) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = program.add_subcommand("completion", "print a script that completes this command line");
  command->add_option("shell", *shell, "the shell that will read it")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer(
      "bash: eval \"$(fastcache completion bash)\" in ~/.bashrc\n"
      "zsh:  eval \"$(fastcache completion zsh)\" in ~/.zshrc, behind compinit\n"
      "fish: fastcache completion fish > ~/.config/fish/completions/fastcache.fish");
  command->callback([shell, &program, &exit_code] {
    const std::vector<CompletionCommand> commands = completion_commands(program);
    const std::string script = *shell == "bash"  ? bash_completion(commands)
                               : *shell == "zsh" ? zsh_completion(commands)
                                                 : fish_completion(commands);
    std::fputs(script.c_str(), stdout);
    exit_code = 0;
  });
}

}  // namespace fastcache::cli
