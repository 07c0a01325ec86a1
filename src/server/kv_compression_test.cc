// SPDX-License-Identifier: Apache-2.0
#include "server/kv_compression.h"

#include <gtest/gtest.h>

#include "engine/request_check.h"
#include "press/registry.h"

namespace fastcache::server {
namespace {

bool same(const Compression& a, const Compression& b) {
  return a.press == b.press && a.ratio == b.ratio && a.budget == b.budget && a.seed == b.seed &&
         a.parameters == b.parameters;
}

Compression read(const std::string& json) {
  const Json value = Json::parse(json);
  return read_compression(JsonField(value, "kv_compression"));
}

TEST(KvCompression, BothFormsAreTheSame) {
  const std::pair<const char*, const char*> cases[] = {
      {R"x("knorm(ratio=0.8)")x", R"({"method": "knorm", "ratio": 0.8})"},
      {R"x("streaming_llm( budget = 64 , n_sink=2 )")x",
       R"({"method":"streaming_llm","n_sink":2,"budget":64})"},
      {R"x("random(ratio=0.5, seed=7)")x",
       R"({"method": "random", "seed": 7, "ratio": 5e-1, "budget": null})"},
      {R"x(" none ")x", R"({"method": "none"})"},
      {R"x("none()")x", R"({"method": "none", "ratio": 0})"},
  };
  for (const auto& [text, object] : cases) {
    Compression a = read(text), b = read(object);
    a.ratio = a.ratio.value_or(0.0);
    b.ratio = b.ratio.value_or(0.0);
    EXPECT_TRUE(same(a, b)) << text << " / " << object;
  }
}

std::string identity_of(const std::string& text) {
  return press::press_identity(engine::press_params(parse_compression(text)));
}

TEST(KvCompression, IdentitiesAreReadBack) {
  int n = 0;
  for (const press::PressRow* row : press::presses()) {
    if (row->min_inner > 0 || row->name.starts_with("test_")) continue;
    ++n;
    press::PressParams params{.name = std::string{row->name}};
    if (row->amount == press::Amount::rows)
      params.budget = 100;
    else if (row->removes)
      params.ratio = 0.375;
    const std::string identity = press::press_identity(params);
    EXPECT_EQ(identity_of(identity), identity);
  }
  EXPECT_GE(n, 4);
  for (const char* text : {"adakv(keydiff(ratio=0.6))", "per_layer(knorm, ratios=[0.1, 0.5])",
                           "composed(knorm(ratio=0.5), streaming_llm(budget=256))"}) {
    const std::string identity = identity_of(text);
    EXPECT_EQ(identity_of(identity), identity);
    EXPECT_EQ(identity_of("  " + std::string(text)), identity);
  }
}

TEST(KvCompression, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"7", "it must be a string like"},
      {R"x("test_uneven(ratio=0.5)")x", "fastcache's own tests"},
      {R"x("composed(knorm(ratio=0.5), test_merging(ratio=0.5))")x", "fastcache's own tests"},
      {"[]", "it must be a string like"},
      {R"x("")x", "character 1: the name of a press"},
      {R"x("(ratio=0.5)")x", "character 1: the name of a press"},
      {R"x("knorm(ratio=0.5")x", "character 16: ',' or ')'"},
      {R"x("knorm(0.5)")x", "character 8"},
      {R"x("knorm(ratio=)")x", "a number must stand here"},
      {R"x("knorm(ratio=nan)")x", "a finite number must stand here"},
      {R"x("knorm(ratio=inf)")x", "a finite number must stand here"},
      {R"x("knorm(ratio=0.5,)")x", "a parameter or a press must stand here"},
      {R"x("knorm(ratio=0.5 0.6)")x", "character 17"},
      {R"x("knorm(ratio=1.5)")x", "must be in [0, 1)"},
      {R"x("knorm")x", "set ratio"},
      {R"x("no_such_press(ratio=0.5)")x", "does not exist; there are"},
      {R"({"ratio": 0.5})", "kv_compression.method is missing"},
      {R"({"method": 5})", "kv_compression.method is the number 5"},
      {R"({"method": "knorm", "ratio": "0.5"})", "kv_compression.ratio is a string"},
      {R"({"method": "knorm", "budget": 1.5})", "budget is 1.5"},
      {R"({"method": "knorm", "budget": 1e99})", "budget is 1e+99"},
      {R"({"method": "knorm", "ratio": 0.5, "seed": -1})", "seed is -1"},
      {R"({"method": "knorm", "ratio": 0.5, "no_such": 1})", "no_such"},
  };
  for (const auto& [json, part] : cases) {
    try {
      read(json);
      ADD_FAILURE() << json;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
      EXPECT_EQ(error.param.substr(0, 14), "kv_compression");
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << json << " / " << error.what();
    }
  }
}

}  // namespace
}  // namespace fastcache::server
