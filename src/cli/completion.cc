// SPDX-License-Identifier: Apache-2.0
#include "cli/completion.h"

#include <algorithm>

#include "base/log.h"

namespace fastcache::cli {
namespace {

// CLI11 says what a value must be in the option's type: "INT", "TEXT", "TEXT:{bash,zsh,fish}".
void describe_value(const std::string& type, CompletionOption& option) {
  const size_t open = type.find('{'), close = type.find('}');
  if (open == std::string::npos || close == std::string::npos) {
    option.takes_file = type.starts_with("TEXT");
    return;
  }
  const std::string choices = type.substr(open + 1, close - open - 1);
  for (const std::string& choice : CLI::detail::split(choices, ',')) option.choices.push_back(choice);
}

CompletionOption completion_option(const CLI::Option& option) {
  CompletionOption result;
  for (const std::string& name : option.get_lnames()) result.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) result.names.push_back("-" + name);
  result.is_argument = option.get_positional();
  result.help = option.get_description();
  std::ranges::replace(result.help, '\n', ' ');
  result.takes_value = option.get_items_expected_max() > 0;
  if (result.takes_value) describe_value(option.get_type_name(), result);
  return result;
}

CompletionCommand completion_command(const CLI::App& app) {
  CompletionCommand command{.name = app.get_name(), .help = app.get_description(), .options = {}};
  for (const CLI::Option* option : app.get_options()) command.options.push_back(completion_option(*option));
  return command;
}

std::string with_escapes(const std::string& text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

// Inside single quotes of a POSIX shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::vector<std::string> names_of(const CompletionCommand& command) {
  std::vector<std::string> names;
  for (const CompletionOption& option : command.options)
    names.insert(names.end(), option.names.begin(), option.names.end());
  return names;
}

const CompletionOption* argument_of(const CompletionCommand& command) {
  const auto found = std::ranges::find_if(command.options, &CompletionOption::is_argument);
  return found == command.options.end() ? nullptr : &*found;
}

std::string bash_words(const std::string& words) {
  return fmt::format("mapfile -t COMPREPLY < <(compgen -W {} -- \"$cur\")", quoted(words));
}

constexpr const char* kBashFiles =
    "compopt -o filenames 2>/dev/null || :; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";

std::string bash_value(const CompletionOption& option) {
  if (!option.choices.empty()) return bash_words(fmt::format("{}", fmt::join(option.choices, " ")));
  return option.takes_file ? kBashFiles : ":";
}

}  // namespace

std::vector<CompletionCommand> completion_commands(const CLI::App& program) {
  std::vector<CompletionCommand> commands{completion_command(program)};
  commands.front().name.clear();
  for (const CLI::App* command : program.get_subcommands({}))
    commands.push_back(completion_command(*command));
  return commands;
}

std::string bash_completion(const std::vector<CompletionCommand>& commands) {
  std::vector<std::string> names;
  for (const CompletionCommand& command : commands)
    if (!command.name.empty()) names.push_back(command.name);
  std::string values, words;
  for (const CompletionCommand& command : commands) {
    const std::string pattern = command.name.empty() ? "*" : command.name;
    for (const CompletionOption& option : command.options) {
      if (!option.takes_value || option.names.empty()) continue;
      std::vector<std::string> matches;
      for (const std::string& name : option.names) matches.push_back(pattern + ":" + name);
      values += fmt::format("    {}) {}; return ;;\n", fmt::join(matches, " | "), bash_value(option));
    }
    if (command.name.empty()) continue;
    const CompletionOption* argument = argument_of(command);
    words += fmt::format("    {}) options={} ", command.name,
                         quoted(fmt::format("{}", fmt::join(names_of(command), " "))));
    words += argument == nullptr
                 ? ";;\n"
                 : fmt::format("\n      [[ $cur == -* ]] || {{ {}; return; }} ;;\n", bash_value(*argument));
  }
  return fmt::format(R"(# bash completion of fastcache, made by `fastcache completion bash`
_fastcache() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD - 1]}} command="" options="" word
  COMPREPLY=()
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case $word in {0}) command=$word; break ;; esac
  done
  case $command:$prev in
{1}  esac
  case $command in
    "") options={2} ;;
{3}  esac
  {4}
}}
complete -F _fastcache fastcache
)",
                     fmt::join(names, " | "), values, quoted(fmt::format("{}", fmt::join(names, " "))), words,
                     fmt::format("mapfile -t COMPREPLY < <(compgen -W \"$options {}\" -- \"$cur\")",
                                 fmt::join(names_of(commands.front()), " ")));
}

std::string zsh_completion(const std::vector<CompletionCommand>& commands) {
  const auto argument_specs = [](const CompletionCommand& command) {
    std::string specs;
    for (const CompletionOption& option : command.options) {
      std::string value;
      if (option.takes_value) {
        value = ":value:";
        if (!option.choices.empty())
          value += fmt::format("({})", fmt::join(option.choices, " "));
        else if (option.takes_file)
          value += "_files";
      }
      if (option.is_argument) specs += " \\\n        " + quoted("*" + value);
      for (const std::string& name : option.names)
        specs += " \\\n        " +
                 quoted(fmt::format("{}[{}]{}", name, with_escapes(option.help, "[]:\\"), value));
    }
    return specs;
  };
  std::string names, cases;
  for (const CompletionCommand& command : commands) {
    if (command.name.empty()) continue;
    names += " \\\n    " + quoted(command.name + ":" + with_escapes(command.help, ":"));
    cases += fmt::format("      {}) _arguments{}{} ;;\n", command.name, argument_specs(command),
                         argument_specs(commands.front()));
  }
  return fmt::format(R"(#compdef fastcache
# zsh completion of fastcache, made by `fastcache completion zsh`
_fastcache() {{
  local curcontext=$curcontext state line
  local -a commands=({}
  )
  _arguments -C{} \
    '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument) case $line[1] in
{}    esac ;;
  esac
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _fastcache "$@"; else compdef _fastcache fastcache; fi
)",
                     names, argument_specs(commands.front()), cases);
}

std::string fish_completion(const std::vector<CompletionCommand>& commands) {
  const auto text = [](const std::string& words) { return "'" + with_escapes(words, "'\\") + "'"; };
  std::string script =
      "# fish completion of fastcache, made by `fastcache completion fish`\ncomplete -c fastcache -f\n";
  for (const CompletionCommand& command : commands) {
    if (!command.name.empty()) {
      script += fmt::format("complete -c fastcache -n __fish_use_subcommand -a {} -d {}\n", command.name,
                            text(command.help));
    }
    for (const CompletionOption& option : command.options) {
      script += "complete -c fastcache";
      if (!command.name.empty()) script += " -n '__fish_seen_subcommand_from " + command.name + "'";
      for (const std::string& name : option.names)
        script += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      if (option.takes_value && !option.names.empty()) script += " -r";
      if (option.takes_file) script += " -F";
      if (!option.choices.empty()) script += " -a " + text(fmt::format("{}", fmt::join(option.choices, " ")));
      script += " -d " + text(option.help) + "\n";
    }
  }
  return script;
}

}  // namespace fastcache::cli
