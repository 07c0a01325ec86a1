// SPDX-License-Identifier: Apache-2.0
// docs/grafana-dashboard.json and the metrics of this build name the same things.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>

#include "server/metrics.h"

namespace fastcache::server {
namespace {

using nlohmann::json;

json dashboard() { return json::parse(std::ifstream{"docs/grafana-dashboard.json"}); }

std::set<std::string> found(const std::string& text, const std::string& pattern) {
  const std::regex regex{pattern};
  std::set<std::string> all;
  for (std::sregex_iterator at{text.begin(), text.end(), regex}, end; at != end; ++at) all.insert((*at)[1]);
  return all;
}

// Metrics in which every family has a sample.
std::string metrics_text() {
  Metrics metrics{"tiny"};
  metrics.request_ended({.generated_tokens = 2,
                         .compress_ms = 1,
                         .rows_before_compression = 20,
                         .rows_after_compression = 4,
                         .freed_bytes = 1024},
                        10, "knorm");
  metrics.answer_ended("stop");
  metrics.tokens_arrived(1, 1);
  metrics.error("bad_request");
  return metrics.text({.pool_bytes = 1}, {RequestFigures{.stage = "decode"}});
}

std::set<std::string> expressions() {
  std::set<std::string> all;
  const json whole = dashboard();
  for (const json& panel : whole.at("panels"))
    for (const json& target : panel.at("targets")) all.insert(target.at("expr"));
  return all;
}

TEST(Grafana, EveryMetricOfTheDashboardExists) {
  const std::string text = metrics_text();
  const auto exist = found(text, R"re((?:^|\n)(fastcache:[a-z_0-9]+)[{ ])re");
  const auto wanted = found(dashboard().dump(), R"re((fastcache:[a-z_0-9]+))re");
  EXPECT_GE(wanted.size(), 20u);
  for (const std::string& name : wanted) EXPECT_TRUE(exist.contains(name)) << name;
}

// A label that no sample has would make an empty panel, which looks like an idle server.
TEST(Grafana, EveryLabelOfTheDashboardExists) {
  const std::string text = metrics_text();
  for (const std::string& expression : expressions()) {
    SCOPED_TRACE(expression);
    for (const std::string& selector : found(expression, R"re(([a-z_]+="[^"]*"))re"))
      EXPECT_NE(text.find(selector), std::string::npos) << selector;
    const auto metric = *found(expression, R"re((fastcache:[a-z_0-9]+))re").begin();
    for (const std::string& label : found(expression, R"re(by \(([a-z_]+)\))re"))
      EXPECT_TRUE(std::regex_search(text, std::regex{metric + "\\{[^}]*" + label + "=\""})) << label;
    EXPECT_NE(expression.find("model_name=~\"$model\""), std::string::npos);
  }
}

TEST(Grafana, PanelsStandBesideEachOther) {
  std::set<std::pair<int, int>> taken;
  const json whole = dashboard();
  for (const json& panel : whole.at("panels")) {
    const json& at = panel.at("gridPos");
    EXPECT_FALSE(panel.at("description").get<std::string>().empty());
    for (int x = at.at("x"); x < at.at("x").get<int>() + at.at("w").get<int>(); ++x)
      for (int y = at.at("y"); y < at.at("y").get<int>() + at.at("h").get<int>(); ++y) {
        EXPECT_LT(x, 24);
        EXPECT_TRUE(taken.insert({x, y}).second)
            << panel.at("title") << " lies on another at " << x << ", " << y;
      }
  }
}

}  // namespace
}  // namespace fastcache::server
