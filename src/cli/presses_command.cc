// SPDX-License-Identifier: Apache-2.0
// `fastcache presses`: the compression methods, what they take and what they need.
#include <spdlog/fmt/fmt.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/tune_bits.h"
#include "press/registry.h"

namespace fastcache::cli {
namespace {

using press::Amount;
using press::PressNumber;
using press::PressRow;

// Of a press by itself: a wrapper also needs what the wrapped presses need.
press::PressNeeds own_needs(const PressRow& row) {
  if (row.amount == Amount::inner || row.amount == Amount::listed) return {};
  press::PressParams params{.name = std::string{row.name}};
  params.inner.assign(static_cast<size_t>(row.min_inner), {.name = "random"});
  if (row.amount == Amount::own && row.removes) params.ratio = 0.5;
  if (row.amount == Amount::rows) params.budget = 1;
  press::PressNeeds needs = press::make_press(params)->needs();
  needs.seed &= row.wrap == nullptr;  // random's
  return needs;
}

std::string default_value(const PressNumber& number) {
  return number.list ? fmt::format("{}=[...]", number.name)
                     : fmt::format("{}={}", number.name, number.standard);
}

// "adakv(PRESS, safeguard=0.2, ratio | budget)"
std::string usage(const PressRow& row) {
  std::vector<std::string> parts;
  if (row.wrap != nullptr) parts.emplace_back(row.max_inner > 1 ? "PRESS, PRESS, ..." : "PRESS");
  for (const PressNumber& number : row.numbers)
    if (!number.may_lack) parts.push_back(default_value(number));
  if (row.removes && row.amount == Amount::own) parts.emplace_back("ratio | budget");
  if (row.amount == Amount::rows) parts.emplace_back("budget");
  if (own_needs(row).seed) parts.emplace_back("seed=0");
  return fmt::format("{}({})", row.name, fmt::join(parts, ", "));
}

std::string as_text() {
  std::string text;
  for (const PressRow* row : press::presses()) {
    text += fmt::format("{}\n    {}\n", usage(*row), row->summary);
    for (const PressNumber& number : row->numbers)
      text += fmt::format("    {}: {}; {} from {} to {}\n", number.name, number.help,
                          number.may_lack ? "a list of numbers, if wanted,"
                          : number.list   ? "a list of numbers"
                          : number.whole  ? "a whole number"
                                          : "a number",
                          number.min, number.max);
    const std::vector<std::string> needs = press::need_names(own_needs(*row));
    if (!needs.empty()) text += fmt::format("    needs: {}\n", fmt::join(needs, ", "));
  }
  text +=
      "\nratio is the fraction of the rows that is removed, from 0 to below 1; budget the rows that each "
      "head\n"
      "holds afterwards. A wrapper takes them itself or in the press that it wraps: "
      "adakv(knorm(ratio=0.5)).\n"
      "Case and underscores of names do not matter.\n";
  return text;
}

nlohmann::json as_json(const PressNumber& number) {
  nlohmann::json json{{"name", number.name},   {"list", number.list},   {"whole", number.whole},
                      {"minimum", number.min}, {"maximum", number.max}, {"help", number.help}};
  if (!number.list) json["default"] = number.standard;
  if (number.list) json["optional"] = number.may_lack;
  return json;
}

nlohmann::json as_json(const PressRow& row) {
  nlohmann::json parameters = nlohmann::json::array();
  for (const PressNumber& number : row.numbers) parameters.push_back(as_json(number));
  return {{"name", row.name},
          {"usage", usage(row)},
          {"summary", row.summary},
          {"takes_ratio", row.removes && row.amount == Amount::own},
          {"takes_budget", row.removes && (row.amount == Amount::own || row.amount == Amount::rows)},
          {"wraps", {{"minimum", row.min_inner}, {"maximum", row.max_inner}}},
          {"can_be_wrapped", row.plain_scores},
          {"parameters", std::move(parameters)},
          {"needs", press::need_names(own_needs(row))}};
}

}  // namespace

void add_presses_command(CLI::App& program, int& exit_code) {
  auto json = std::make_shared<bool>(false);
  auto tuning = std::make_shared<TuneBitsOptions>();
  CLI::App* command = program.add_subcommand("presses", "list the ways to compress the KV cache");
  command->add_flag("--json", *json, "as JSON");
  CLI::Option* tune = add_tune_bits_options(*command, *tuning);
  command->callback([json, tuning, tune, &exit_code] {
    if (tune->count() > 0) {
      print_now(tune_bits(*tuning, *json));
    } else if (*json) {
      nlohmann::json list = nlohmann::json::array();
      for (const PressRow* row : press::presses()) list.push_back(as_json(*row));
      print_now(list.dump(2) + "\n");
    } else {
      print_now(as_text());
    }
    exit_code = 0;
  });
}

}  // namespace fastcache::cli
