// SPDX-License-Identifier: Apache-2.0
#include "cli/config_file.h"

#include <toml++/toml.h>

#include <algorithm>
#include <numeric>
#include <sstream>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::cli {
namespace {

struct Place {
  const std::string& file;
  const toml::node& node;
};

[[noreturn]] void refuse(const Place& place, const std::string& what) {
  throw Error{Code::bad_request, fmt::format("{}:{}: {}", place.file, place.node.source().begin.line, what)};
}

// Insertions, deletions and replacements of a character that make one of the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);  // distances of the prefixes of b to the part of a seen so far
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_configurable() && !option->get_lnames().empty())
      names.push_back(option->get_lnames().front());
  }
  return names;
}

[[noreturn]] void refuse_unknown(const Place& place, const std::string& key, const CLI::App& app) {
  const bool top = app.get_parent() == nullptr;
  if (top) {
    for (const CLI::App* command : app.get_subcommands({})) {
      if (command->get_option_no_throw("--" + key) == nullptr) continue;
      refuse(place, fmt::format("'{}' is an option of a command; it must stand in that command's table, "
                                "such as [{}]",
                                key, command->get_name()));
    }
  }
  std::vector<std::string> names = option_names(app);
  const auto distance = [&](const std::string& name) { return edit_distance(key, name); };
  const auto nearest = std::ranges::min_element(names, {}, distance);
  const std::string hint = nearest != names.end() && distance(*nearest) <= 2
                               ? fmt::format("; did you mean '{}'?", *nearest)
                               : fmt::format("; it must be one of {}", fmt::join(names, ", "));
  refuse(place, fmt::format("{} has no option '{}'{}", top ? "the program" : app.get_name(), key, hint));
}

std::string text_of(const Place& place, const std::string& key) {
  if (const auto text = place.node.value_exact<std::string>()) return *text;
  if (const auto number = place.node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto number = place.node.value_exact<double>()) return fmt::format("{}", *number);
  refuse(place, fmt::format("'{}' must be a number or a text in quotes", key));
}

// What would stand behind the option on the command line.
std::vector<std::string> inputs_of(const Place& place, const std::string& key, const CLI::Option& option) {
  if (place.node.is_boolean()) refuse(place, fmt::format("'{}' takes a value, not true or false", key));
  const bool is_text = option.get_type_name().starts_with("TEXT");
  const auto input = [&](const toml::node& node) {
    const Place at{place.file, node};
    if (is_text && node.is_number()) refuse(at, fmt::format("'{}' must be a text in quotes", key));
    return text_of(at, key);
  };
  const toml::array* list = place.node.as_array();
  if (list == nullptr) return {input(place.node)};
  if (option.get_items_expected_max() <= 1) refuse(place, fmt::format("'{}' takes one value, no list", key));
  std::vector<std::string> inputs;
  for (const toml::node& node : *list) inputs.push_back(input(node));
  return inputs;
}

void set(const Place& place, const std::string& key, CLI::Option& option, bool wanted) {
  std::vector<std::string> inputs;
  if (option.get_items_expected_max() == 0) {  // a flag
    const std::optional<bool> on = place.node.value_exact<bool>();
    if (!on) refuse(place, fmt::format("'{}' must be true or false", key));
    if (*on) inputs = {"true"};
  } else {
    inputs = inputs_of(place, key, option);
  }
  if (!wanted || inputs.empty() || option.count() > 0) return;
  try {
    option.add_result(inputs);
    option.run_callback();
  } catch (const CLI::ParseError& error) {
    refuse(place, error.what());
  } catch (const Error& error) {
    refuse(place, fmt::format("'{}': {}", key, error.what()));
  }
}

CLI::App& command_of(const Place& place, const std::string& name, CLI::App& app) {
  std::string names;
  for (CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() == name) return *command;
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  refuse(place, names.empty() ? fmt::format("there can be no table '{}' here", name)
                              : fmt::format("there is no command '{}'; it must be one of {}", name, names));
}

void apply(const std::string& file, const toml::table& table, CLI::App& app, bool wanted) {
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const Place place{file, node};
    if (const toml::table* inner = node.as_table()) {
      CLI::App& command = command_of(place, name, app);
      apply(file, *inner, command, command.parsed());
      continue;
    }
    CLI::Option* option = app.get_option_no_throw("--" + name);
    if (option == nullptr || !option->get_configurable()) refuse_unknown(place, name, app);
    set(place, name, *option, wanted);
  }
}

// CLI11 asks its formatter when the command line is read and nothing has run yet: the time to fill in what
// it lacks. The options are set here, with the file's lines at hand, so nothing is left to hand over.
class TomlConfig final : public CLI::Config {
 public:
  explicit TomlConfig(CLI::App& program) : program_(program) {}

  std::vector<CLI::ConfigItem> from_config(std::istream& stream) const override {
    const std::string file = program_.get_config_ptr()->as<std::string>();
    std::ostringstream text;
    text << stream.rdbuf();
    if (stream.bad()) throw CLI::FileError::Missing(file);
    try {
      apply(file, toml::parse(text.str()), program_, true);
    } catch (const toml::parse_error& error) {
      throw Error{Code::bad_request,
                  fmt::format("{}:{}: {}", file, error.source().begin.line, error.description())};
    }
    return {};
  }

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }

 private:
  CLI::App& program_;
};

}  // namespace

void add_config_option(CLI::App& program) {
  program.config_formatter(std::make_shared<TomlConfig>(program));
  program.set_config("--config", "", "TOML file with options; the command line counts more")
      ->type_name("TEXT");
}

}  // namespace fastcache::cli
