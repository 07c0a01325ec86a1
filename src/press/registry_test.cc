// SPDX-License-Identifier: Apache-2.0
#include "press/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <set>

#include "base/error.h"
#include "press/press_string.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using testing::HasSubstr;

void expect_error(Code code, const std::string& part, const std::function<void()>& call) {
  try {
    call();
    ADD_FAILURE() << "nothing thrown; expected: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part));
  }
}

TEST(Registry, EveryPressIsMadeByItsName) {
  std::set<std::string_view> names;
  for (const PressRow* row : ratio_presses()) {
    EXPECT_NE(make_press(with_ratio(std::string{row->name}, 0.5)), nullptr);
    EXPECT_TRUE(names.insert(row->name).second) << row->name;
    EXPECT_FALSE(row->summary.empty());
    for (const PressNumber& number : row->numbers) EXPECT_FALSE(number.help.empty()) << number.name;
  }
  EXPECT_THAT(names, testing::IsSupersetOf({"none", "random", "knorm", "streaming_llm", "adakv", "chunkkv",
                                            "chunk", "per_layer", "composed", "test_uneven"}));
}

TEST(Registry, AnUnknownNameIsAnErrorThatListsAll) {
  for (const char* name : {"knorms", "", "snap", "knorm "})
    expect_error(Code::not_found, "there are none, random, knorm, streaming_llm",
                 [&] { make_press({.name = name, .ratio = 0.5}); });
}

TEST(Registry, CaseAndUnderscoresOfNamesDoNotMatter) {
  for (const char* name : {"StreamingLLM", "streamingllm", "STREAMING_LLM", "streaming_llm"}) {
    const PressParams params{.name = name, .ratio = 0.5, .numbers = {{"NSink", 9}}};
    EXPECT_EQ(press_identity(params), "streaming_llm(n_sink=9, ratio=0.5)");
  }
}

void refused(const PressParams& params, const std::string& part) {
  expect_error(Code::bad_request, part, [&] { make_press(params); });
  expect_error(Code::bad_request, part, [&] { press_identity(params); });
}

TEST(Registry, WrongParametersAreRefusedByName) {
  refused({.name = "knorm", .ratio = 0.5, .numbers = {{"n_sink", 4}}}, "no parameter 'n_sink'; it has none");
  refused({.name = "streaming_llm", .ratio = 0.5, .numbers = {{"sinks", 4}}}, "it has n_sink");
  refused({.name = "streaming_llm", .ratio = 0.5, .numbers = {{"n_sink", -1}}},
          "n_sink = -1 must be a whole");
  refused({.name = "streaming_llm", .ratio = 0.5, .numbers = {{"n_sink", 2.5}}}, "n_sink = 2.5");
  refused({.name = "streaming_llm", .ratio = 0.5, .numbers = {{"n_sink", NAN}}}, "n_sink = nan");
  refused({.name = "knorm", .ratio = 0.5, .budget = 10}, "both set");
  refused({.name = "knorm"}, "set ratio");
  for (const double ratio : {1.0, -0.1, 80.0, static_cast<double>(NAN), static_cast<double>(INFINITY)})
    refused({.name = "knorm", .ratio = ratio}, "must be in [0, 1)");
  refused({.name = "streaming_llm", .ratio = 0.5, .numbers = {{"n_sink", 4}, {"NSINK", 4}}}, "twice");
  refused({.name = "streaming_llm", .ratio = 0.5, .lists = {{"n_sink", {4}}}}, "must be one number");
  refused({.name = "random", .budget = 0}, "at least 1 row");
  refused({.name = "none", .ratio = 0.5}, "removes nothing");
  refused({.name = "none", .budget = 5}, "removes nothing");
  EXPECT_NE(make_press({.name = "none", .ratio = 0.0}), nullptr);
}

TEST(Registry, IdentityTellsApartWhatDiffersAndNothingElse) {
  EXPECT_EQ(press_identity({.name = "none"}), "none()");
  EXPECT_EQ(press_identity({.name = "streaming_llm", .ratio = 0.8}), "streaming_llm(n_sink=4, ratio=0.8)");
  EXPECT_EQ(press_identity({.name = "random", .budget = 9, .seed = 3}), "random(budget=9, seed=3)");
  const PressParams base{.name = "streaming_llm", .ratio = 0.8};
  PressParams same = base;  // the default said aloud; a seed that nobody looks at
  same.numbers["n_sink"] = 4;
  same.seed = 99;
  EXPECT_EQ(press_identity(same), press_identity(base));
  EXPECT_EQ(press_hash(same), press_hash(base));
  std::set<std::string> all;
  const PressParams different[] = {base,
                                   {.name = "streaming_llm", .ratio = 0.8, .numbers = {{"n_sink", 5}}},
                                   {.name = "streaming_llm", .ratio = 0.8000000000000002},
                                   {.name = "streaming_llm", .budget = 8},
                                   {.name = "knorm", .ratio = 0.8},
                                   {.name = "random", .ratio = 0.8, .seed = 1},
                                   {.name = "random", .ratio = 0.8, .seed = 2}};
  for (const PressParams& params : different) {
    all.insert(press_identity(params));
    all.insert(to_hex(press_hash(params)));
  }
  EXPECT_EQ(all.size(), 2 * std::size(different));
  EXPECT_EQ(press_identity({.name = "knorm", .ratio = -0.0}),
            press_identity({.name = "knorm", .ratio = 0.0}));
}

TEST(Wrappers, SayHowMuchOnceInsideOrOutside) {
  const PressParams outside{.name = "adakv", .ratio = 0.6, .inner = {{.name = "Knorm"}}};
  const PressParams inside{.name = "adakv", .inner = {{.name = "knorm", .ratio = 0.6}}};
  EXPECT_EQ(press_identity(outside), "adakv(knorm(), safeguard=0.2, ratio=0.6)");
  EXPECT_EQ(press_identity(inside), press_identity(outside));
  EXPECT_EQ(complete(inside).how_much().ratio, 0.6);
  refused({.name = "adakv", .ratio = 0.5, .inner = {{.name = "knorm", .ratio = 0.6}}}, "say it once");
  refused({.name = "adakv", .ratio = 0.5, .inner = {{.name = "knorm", .budget = 6}}}, "both set");
  refused({.name = "adakv", .inner = {{.name = "knorm"}}}, "set ratio");
  refused({.name = "adakv", .inner = {{.name = "knorm", .ratio = 2}}}, "must be in [0, 1)");
}

TEST(Wrappers, WrapWhatTheyCan) {
  const PressParams knorm{.name = "knorm", .ratio = 0.5};
  refused({.name = "adakv", .ratio = 0.5}, "exactly 1 press; there are 0");
  refused({.name = "adakv", .inner = {knorm, knorm}}, "exactly 1 press; there are 2");
  refused({.name = "knorm", .ratio = 0.5, .inner = {knorm}}, "wraps no press, so 'knorm' cannot");
  refused({.name = "composed", .inner = {knorm}}, "2 to 8 presses; there is 1");
  refused({.name = "composed", .ratio = 0.5, .inner = {knorm, knorm}}, "each press in it has one");
  refused({.name = "composed", .inner = {knorm, {.name = "knorm"}}}, "set ratio");
  refused({.name = "per_layer", .inner = {{.name = "knorm"}}}, "ratios is missing");
  refused({.name = "per_layer", .lists = {{"ratios", {0.5, 1.0}}}, .inner = {{.name = "knorm"}}},
          "ratios = 1");
  refused({.name = "per_layer", .lists = {{"ratios", {}}}, .inner = {{.name = "knorm"}}}, "0 values");
  refused({.name = "per_layer", .lists = {{"ratios", {0.5}}}, .inner = {knorm}}, "no ratio or budget");
  for (const PressRow* row : ratio_presses()) {
    const std::string name{row->name};
    if (row->plain_scores) {
      EXPECT_NO_THROW(make_press({.name = "adakv", .ratio = 0.5, .inner = {{.name = name}}})) << name;
    } else {
      refused({.name = "adakv", .inner = {with_ratio(name, 0.5)}}, "cannot wrap '" + name + "'");
    }
    EXPECT_NO_THROW(make_press({.name = "composed", .inner = {knorm, with_ratio(name, 0.5)}})) << name;
    const PressParams first{.name = "composed", .inner = {with_ratio(name, 0.5), knorm}};
    if (makes_rows(*row))
      refused(first, "'" + name + "' makes new rows");
    else
      EXPECT_NO_THROW(make_press(first)) << name;
  }
}

TEST(Wrappers, AllParametersAndSeedsAreInTheIdentity) {
  const PressParams params{.name = "composed",
                           .seed = 5,
                           .inner = {{.name = "chunkkv", .inner = {{.name = "random", .ratio = 0.5}}},
                                     {.name = "random", .budget = 9, .seed = 6}}};
  EXPECT_EQ(press_identity(params),
            "composed(chunkkv(random(seed=5), chunk_length=20, ratio=0.5), random(budget=9, seed=6))");
  EXPECT_EQ(
      press_identity({.name = "per_layer", .lists = {{"Ratios", {0.5, -0.0}}}, .inner = {{.name = "knorm"}}}),
      "per_layer(knorm(), ratios=[0.5, 0])");
}

TEST(Wrappers, ListsForDifferentNumbersOfLayersDoNotGoTogether) {
  const auto lists = [](const std::string& first, const std::string& second) {
    return PressParams{.name = "composed", .inner = {parse_press(first), parse_press(second)}};
  };
  refused(lists("per_layer(knorm, ratios=[0.5, 0.5])", "per_layer(knorm, ratios=[0.5])"),
          "for 2 and for 1 layers");
  refused(lists("quantized(layer_bits=[4, 4, 4])", "quantized(layer_bits=[4])"), "for 3 and for 1 layers");
  EXPECT_NO_THROW(make_press(lists("per_layer(knorm, ratios=[0.5])", "quantized(layer_bits=[4])")));
}

TEST(Wrappers, NeedWhatTheirPressesNeed) {
  const PressParams params{
      .name = "composed",
      .inner = {with_ratio("knorm", 0.5), with_ratio("random", 0.5), with_ratio("per_layer", 0.5)}};
  const PressNeeds needs = make_press(params)->needs();
  EXPECT_TRUE(needs.keys);
  EXPECT_TRUE(needs.seed);
  EXPECT_FALSE(needs.values);
  EXPECT_EQ(needs.n_layers, 3);
  expect_error(Code::unsupported, "for 3 layers; the model has 30",
               [&] { check_needs("per_layer", {.n_layers = 3}, {.n_layers = 30}); });
}

TEST(Needs, WhatARequestCannotDeliverIsNamed) {
  const PressNeeds pages{
      .keys = true, .values = true, .last_queries = 16, .seed = true, .n_layers = 3, .page_bits = 16};
  PressNeeds delivered = pages;
  delivered.last_queries = 64;
  delivered.query_statistics = true;
  delivered.received_attention = true;
  delivered.second_pass = true;
  delivered.new_rows = true;
  delivered.output_weights = true;
  for (const PressRow* row : ratio_presses())
    EXPECT_NO_THROW(
        check_needs(row->name, make_press(with_ratio(std::string{row->name}, 0.5))->needs(), delivered));
  EXPECT_NO_THROW(check_needs("p", {.last_queries = 16}, pages));
  const auto refused = [&](const PressNeeds& needs, const std::string& part) {
    expect_error(Code::unsupported, part, [&] { check_needs("p", needs, pages); });
  };
  refused({.last_queries = 64}, "press 'p' needs the queries of the last 64 tokens (there are 16)");
  refused({.query_statistics = true}, "mean and covariance");
  refused({.pre_rope_keys = true}, "keys before RoPE");
  refused({.hidden_states = true}, "hidden states");
  refused({.output_weights = true}, "output weights");
  refused({.question_boundary = true}, "question begins");
  refused({.page_bits = 16}, "makes elements of 16 bits, and those of the cache have 16 already");
  EXPECT_NO_THROW(check_needs("p", {.page_bits = 8}, pages));
  expect_error(Code::unsupported, "cached keys", [] { check_needs("p", {.keys = true}, {}); });
  expect_error(Code::unsupported, "cached values", [] { check_needs("p", {.values = true}, {}); });
  expect_error(Code::unsupported, "a seed", [] { check_needs("p", {.seed = true}, {}); });
}

}  // namespace
}  // namespace fastcache::press
