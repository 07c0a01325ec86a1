// SPDX-License-Identifier: Apache-2.0
// `fastcache eval --quick` on the embedded model and this machine's own documents: the order that any right
// measurement must show.
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "child.h"

namespace fastcache {
namespace {

TEST(CliEvalSlow, MethodsThatLookBeatChance) {
  const test_support::ChildResult result = test_support::run_fastcache(
      {"eval", "--quick", "--press", "snapkv", "--press", "expected_attention", "--json", "-"},
      {.limit = std::chrono::seconds(1800)});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const nlohmann::json json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["text"]["n"], 4);
  EXPECT_GT(json["text"]["window"]["perplexity"], json["text"]["full"]["perplexity"]);
  std::map<std::pair<std::string, double>, double> gain;
  for (const auto& row : json["text"]["rows"]) {
    EXPECT_TRUE(row["valid"]);
    EXPECT_EQ(row["share_on_compressed"], 1.0);
    gain[{row["press"], row["removed"]}] = row["gain_retained"]["value"];
  }
  for (const char* press : {"snapkv", "expected_attention"})
    for (const double removed : {0.5, 0.8})
      EXPECT_GT((gain[{press, removed}]), (gain[{"random", removed}])) << press;
  EXPECT_GT((gain[{"snapkv", 0.5}]), (gain[{"snapkv", 0.8}]));
  int counted = 0;
  for (const auto& task : json["tasks"]) counted += task["counted"]["likelihood"].get<bool>() ? 1 : 0;
  EXPECT_GE(counted, 1);
}

}  // namespace
}  // namespace fastcache
