// SPDX-License-Identifier: Apache-2.0
#include "eval/press_list.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "press/registry.h"

namespace fastcache::eval {
namespace {

ModelGives small_model() { return {.n_layers = 2, .output_weights = true}; }

std::vector<std::string> names(const std::vector<std::string>& texts) {
  std::vector<std::string> names;
  for (const Method& method : choose_methods(texts, small_model(), 1)) names.push_back(method.name);
  return names;
}

std::string sentence(const std::string& text, Code code) {
  try {
    choose_methods({text}, small_model(), 1);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << text << ": no error";
  return {};
}

TEST(PressList, WhatTheModelLacksIsLeftOut) {
  const auto all = names({});
  EXPECT_NE(std::find(all.begin(), all.end(), "criticalkv(snapkv)"), all.end());
  for (const Method& method : choose_methods({}, {.n_layers = 2}, 1))
    EXPECT_FALSE(method.needs.output_weights);
  EXPECT_THROW(choose_methods({"criticalkv(snapkv)"}, {.n_layers = 2}, 1), Error);
}

TEST(PressList, BaselinesAreAlwaysThere) {
  EXPECT_EQ(names({"snapkv"}), (std::vector<std::string>{"random", "streaming_llm", "snapkv"}));
  EXPECT_EQ(names({"Random", "adakv(snapkv)"}),
            (std::vector<std::string>{"random", "streaming_llm", "adakv(snapkv)"}));
}

// Whatever in the catalogue removes a ratio of its own takes part.
TEST(PressList, TheWholeCatalogueByDefault) {
  const std::vector<std::string> all = names({});
  for (const char* name : {"knorm", "snapkv", "pyramidkv", "tova", "observed_attention", "expected_attention",
                           "keydiff", "lagkv", "cur", "adakv(expected_attention)", "chunkkv(snapkv)"})
    EXPECT_NE(std::find(all.begin(), all.end(), name), all.end()) << name;
  for (const char* name : {"none", "test_uneven", "per_layer", "composed"})
    EXPECT_EQ(std::find(all.begin(), all.end(), name), all.end()) << name;
}

TEST(PressList, CompressionDuringDecodingOnlyWhereItIsNamed) {
  for (const Method& method : choose_methods({}, small_model(), 1)) EXPECT_EQ(method.every, 0) << method.name;
  const Method method = choose_methods({"decoding(snapkv(window=20), every=7)"}, small_model(), 1).back();
  EXPECT_EQ(method.every, 7);
  EXPECT_EQ(method.needs.last_queries, 20);
  EXPECT_FALSE(is_simple_baseline(method));
  EXPECT_NE(sentence("decoding(knorm(budget=2048))", Code::bad_request).find("--removed"), std::string::npos);
  sentence("decoding(expected_attention)", Code::unsupported);
}

TEST(PressList, SaysWhatIsWrong) {
  EXPECT_NE(sentence("snapkw", Code::not_found).find("there are none, random"), std::string::npos);
  EXPECT_NE(sentence("snapkv(ratio=0.5)", Code::bad_request).find("--removed"), std::string::npos);
  EXPECT_NE(sentence("adakv(knorm(budget=5))", Code::bad_request).find("--removed"), std::string::npos);
  EXPECT_NE(sentence("none", Code::bad_request).find("takes no ratio"), std::string::npos);
  EXPECT_NE(sentence("composed(knorm, snapkv)", Code::bad_request).find("takes no ratio"), std::string::npos);
  sentence("snapkv(", Code::bad_request);
  sentence("snapkv(size=3)", Code::bad_request);
}

TEST(PressList, OneRecordForAll) {
  const std::vector<Method> methods = choose_methods(
      {"snapkv(window=16)", "tova", "expected_attention", "observed_attention"}, small_model(), 1);
  const press::PressNeeds needs = needs_of(methods);
  EXPECT_EQ(needs.last_queries, 16);
  EXPECT_TRUE(needs.query_statistics);
  EXPECT_TRUE(needs.received_attention);
  EXPECT_THROW(
      needs_of(choose_methods({"expected_attention", "expected_attention(n_sink=8)"}, small_model(), 1)),
      Error);
}

}  // namespace
}  // namespace fastcache::eval
