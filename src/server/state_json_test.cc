// SPDX-License-Identifier: Apache-2.0
#include "server/state_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <vector>

#include "base/test_seed.h"
#include "press/registry.h"

namespace fastcache::server {
namespace {

using nlohmann::json;

RequestFigures request(uint64_t id, const char* stage, int generated = 0) {
  return {.id = id, .stage = stage, .press = "none", .generated_tokens = generated};
}

TEST(StateJson, SaysEverything) {
  const EngineStats stats{.pool_bytes = 1000,
                          .free_bytes = 400,
                          .prefill_bytes = 10,
                          .decode_bytes = 20,
                          .compressed_bytes = 30,
                          .shared_bytes = 40,
                          .prefix_cached_bytes = 500,
                          .waiting = 1,
                          .running = 6,
                          .prefilling = 1,
                          .compressing = 2,
                          .decoding = 3,
                          .steps = 77,
                          .preemptions = 4,
                          .prompt_tokens = 900,
                          .cached_tokens = 300,
                          .generated_tokens = 50};
  const std::vector<RequestFigures> requests{{.id = 8,
                                              .stage = "decode",
                                              .press = "knorm",
                                              .prompt_tokens = 100,
                                              .cached_tokens = 16,
                                              .generated_tokens = 7,
                                              .rows_held = 60,
                                              .rows_uncompressed = 214,
                                              .bytes = 4096,
                                              .age_ms = 12.34,
                                              .ttft_ms = 5.0}};
  const ModelFacts model{.path = "/home/someone/tiny.gguf",
                         .name = "tiny",
                         .context_tokens = 4096,
                         .n_vocab = 320,
                         .n_layers = 2,
                         .kv_bytes_per_token = 256};
  const json expected = json::parse(R"({
    "model": {"name": "tiny", "context_tokens": 4096, "n_vocab": 320, "n_layers": 2, "kv_bytes_per_token": 256},
    "pool": {"total_bytes": 1000, "prefill_bytes": 10, "decode_bytes": 20, "compressed_bytes": 30,
             "shared_bytes": 40, "prefix_cached_bytes": 500, "free_bytes": 400},
    "queues": {"waiting": 1, "running": 6, "prefill": 1, "compress": 2, "decode": 3},
    "totals": {"steps": 77, "preemptions": 4, "prompt_tokens": 900, "cached_tokens": 300, "generated_tokens": 57},
    "requests": [{"id": 8, "stage": "decode", "press": "knorm", "prompt_tokens": 100, "cached_tokens": 16,
                  "generated_tokens": 7, "rows_held": 60, "rows_uncompressed": 214, "bytes": 4096,
                  "age_ms": 12.3, "ttft_ms": 5.0}],
    "requests_left_out": 0})");
  const std::string text = state_json(stats, requests, model);
  EXPECT_EQ(json::parse(text), expected);
  EXPECT_EQ(text.find("someone"), std::string::npos) << "the path is nobody's business";
  EXPECT_EQ(text.find('\n'), std::string::npos) << "it has to fit into the line of an event";
}

TEST(StateJson, StampIsOutsideOfTheState) {
  const std::string state = state_json({}, {}, {});
  EXPECT_EQ(state, state_json({}, {}, {}));
  const json stamped = json::parse(stamped_json(1'700'000'000'123, state));
  EXPECT_EQ(stamped.at("time_ms"), 1'700'000'000'123);
  EXPECT_EQ(stamped.at("state"), json::parse(state));
}

TEST(StateJson, ANameThatIsNotUtf8IsStillJson) {
  const ModelFacts model{.name = "a\xff\"b\n"};
  EXPECT_EQ(json::parse(state_json({}, {}, model)).at("model").at("name"), "a\ufffd\"b\n");
}

// Those that run come first, nobody is shown twice, all are counted.
TEST(StateJson, RandomCrowds) {
  std::mt19937_64 random{test_seed()};
  constexpr const char* kStages[] = {"waiting", "prefill", "compress", "decode"};
  for (int round = 0; round < 200; ++round) {
    std::vector<RequestFigures> requests;
    size_t n_running = 0;
    int64_t generated = 1000;
    const size_t n = random() % (3 * kRequestsShown);
    for (uint64_t id = 1; id <= n; ++id) {
      const char* stage = kStages[random() % 4];
      n_running += stage != kStages[0];
      requests.push_back(request(id, stage, static_cast<int>(random() % 100)));
      generated += requests.back().generated_tokens;
    }
    const json state = json::parse(state_json({.generated_tokens = 1000}, requests, {}));
    const json& shown = state.at("requests");
    SCOPED_TRACE(testing::Message() << "seed " << test_seed() << ", round " << round);
    EXPECT_EQ(shown.size(), std::min(n, kRequestsShown));
    EXPECT_EQ(state.at("requests_left_out"), n - shown.size());
    EXPECT_EQ(state.at("totals").at("generated_tokens"), generated);
    size_t running_shown = 0;
    uint64_t last = 0;
    for (const json& row : shown) {
      EXPECT_GT(row.at("id").get<uint64_t>(), last) << "in order of arrival";
      last = row.at("id");
      running_shown += row.at("stage") != "waiting";
    }
    EXPECT_EQ(running_shown, std::min(n_running, kRequestsShown));
  }
}

TEST(PressesJson, ListsTheRegistryWithoutTheTestsOwn) {
  const json listed = json::parse(presses_json()).at("presses");
  std::set<std::string> names;
  for (const json& row : listed) names.insert(row.at("name"));
  for (const press::PressRow* press : press::presses())
    EXPECT_EQ(names.contains(std::string{press->name}), !press->name.starts_with("test_")) << press->name;
  for (const json& row : listed) {
    EXPECT_FALSE(row.at("summary").get<std::string>().empty()) << row;
    EXPECT_EQ(row.at("removes"), press::find_press(row.at("name").get<std::string>()).removes) << row;
    EXPECT_EQ(row.at("wraps"), press::find_press(row.at("name").get<std::string>()).min_inner) << row;
    if (row.at("name") != "streaming_llm") continue;
    EXPECT_EQ(row.at("parameters").at(0).at("name"), "n_sink");
    EXPECT_TRUE(row.at("parameters").at(0).at("whole"));
  }
}

}  // namespace
}  // namespace fastcache::server
