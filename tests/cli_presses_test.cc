// SPDX-License-Identifier: Apache-2.0
// `fastcache presses` lists what the registry has.
#include <gtest/gtest.h>

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#include "child.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache {
namespace {

using test_support::ChildResult;
using test_support::run_fastcache;

TEST(CliPresses, ListsAllWithParametersAndNeeds) {
  const ChildResult result = run_fastcache({"presses"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  for (const press::PressRow* row : press::presses())
    EXPECT_NE(result.out.find(std::string{row->name} + "("), std::string::npos) << row->name;
  for (const char* part :
       {"streaming_llm(n_sink=4, ratio | budget)", "adakv(PRESS, safeguard=0.2, ratio | budget)",
        "per_layer(PRESS, ratios=[...])", "composed(PRESS, PRESS, ...)", "quantized(bits=4, residual=128)",
        "layer_bits: bits for each layer", "n_sink: first tokens that stay; a whole number from 0 to",
        "needs: keys, values"})
    EXPECT_NE(result.out.find(part), std::string::npos) << part;
}

TEST(CliPresses, AsJson) {
  const ChildResult result = run_fastcache({"presses", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json list = nlohmann::json::parse(result.out);
  ASSERT_EQ(list.size(), press::presses().size());
  for (size_t i = 0; i < list.size(); ++i) {
    const press::PressRow& row = *press::presses()[i];
    EXPECT_EQ(list[i]["name"], row.name);
    ASSERT_EQ(list[i]["parameters"].size(), row.numbers.size());
    // With the defaults that it lists, a press can be written down.
    std::string text = std::string{row.name} + "(";
    for (const auto& parameter : list[i]["parameters"]) {
      if (parameter["list"]) continue;
      text +=
          fmt::format("{}={}, ", parameter["name"].get<std::string>(), parameter["default"].get<double>());
    }
    if (list[i]["takes_ratio"])
      text += "ratio=0.5, ";
    else if (list[i]["takes_budget"])
      text += "budget=50, ";
    if (list[i]["wraps"]["maximum"] == 0) {
      EXPECT_NO_THROW(press::complete(press::parse_press(text + "seed=1)"))) << text;
    }
  }
  EXPECT_EQ(list[0]["name"], "none");
}

TEST(CliPresses, TuneBitsSaysWhatIsWrongBeforeAModelIsLoaded) {
  const auto refused = [](const std::vector<std::string>& arguments, const std::string& part) {
    const ChildResult result = run_fastcache(arguments);
    EXPECT_NE(result.exit_code, 0) << part;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  };
  refused({"presses", "--tune-bits", "4"}, "--text");
  refused({"presses", "--text", "/etc/hostname"}, "--tune-bits");
  refused({"presses", "--tune-bits", "9", "--text", "/etc/hostname"}, "from 2 to 8");
  refused({"presses", "--tune-bits", "4", "--text", "/nowhere/at/all"}, "/nowhere/at/all");
}

}  // namespace
}  // namespace fastcache
