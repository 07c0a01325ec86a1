// SPDX-License-Identifier: Apache-2.0
#include "press/press_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

using testing::HasSubstr;

void refused(std::string_view text, const std::string& part, Code code = Code::bad_request) {
  try {
    complete(parse_press(text));
    ADD_FAILURE() << "nothing thrown for " << text;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(part)) << text;
  }
}

std::string identity(std::string_view text) { return press_identity(parse_press(text)); }

TEST(PressString, MeansWhatItSays) {
  EXPECT_EQ(identity("none"), "none()");
  EXPECT_EQ(identity("knorm(ratio=0.5)"), "knorm(ratio=0.5)");
  EXPECT_EQ(identity(" KNorm (\tRatio = 5e-1 ) \n"), "knorm(ratio=0.5)");
  EXPECT_EQ(identity("adakv(knorm(ratio=0.6))"), "adakv(knorm(), safeguard=0.2, ratio=0.6)");
  EXPECT_EQ(identity("AdaKV(ratio=0.6, KNORM, safeguard=.5)"), "adakv(knorm(), safeguard=0.5, ratio=0.6)");
  EXPECT_EQ(identity("composed(knorm(ratio=0.5), streaming_llm(budget=256))"),
            "composed(knorm(ratio=0.5), streaming_llm(n_sink=4, budget=256))");
  EXPECT_EQ(identity("per_layer(knorm, ratios=[0.1,0.5, 0])"), "per_layer(knorm(), ratios=[0.1, 0.5, 0])");
  EXPECT_EQ(identity("random(ratio=0.5, seed=18446744073709551615)"),
            "random(ratio=0.5, seed=18446744073709551615)");
}

TEST(PressString, TheFaultHasAPlace) {
  refused("", "character 1: the name of a press must stand here, not the end");
  refused("(", "character 1: the name of a press must stand here, not '('");
  refused("knorm(ratio=0.5", "character 16: ',' or ')' must stand here, not the end");
  refused("knorm(ratio=0.5))", "character 17: nothing more must stand here, not ')'");
  refused("knorm(ratio=0.5x)", "character 16: ',' or ')' must stand here, not 'x'");
  refused("knorm(ratio=)", "character 13: a number must stand here, not ')'");
  refused("knorm(ratio=half)", "character 13: a number");
  refused("knorm(ratio=nan)", "character 13: a finite number");
  refused("knorm(ratio=1e999)", "character 13: a number is too large");
  refused("knorm(budget=99999999999)", "character 14: a number is too large");
  refused("knorm(budget=2.5)", "character 15: ',' or ')' must stand here, not '.'");
  refused("random(ratio=0.5, seed=-1)", "character 24: a whole number");
  refused("knorm(ratio=0.5, Ratio=0.5)", "character 18: 'Ratio' is said twice");
  refused("knorm(ratio=0.5,)", "character 17: a parameter or a press");
  refused("per_layer(knorm, ratios=[0.5", "character 29: ',' or ']'");
  refused("per_layer(knorm, ratios=[])", "0 values");
  refused("knorm\xc3\xa9", "character 6: nothing more must stand here, not byte 0xc3");
  refused(std::string_view{"knorm\0", 6}, "character 6: nothing more must stand here, not byte 0x00");
  refused("knrm(ratio=0.5)", "there are none, random, knorm", Code::not_found);
  refused("adakv(knrm(ratio=0.5))", "'knrm' does not exist", Code::not_found);
}

TEST(PressString, HasLimits) {
  std::string deep = "knorm", eight = "knorm";
  for (int i = 0; i < 8; ++i) deep = "adakv(" + deep + ")";
  for (int i = 0; i < 7; ++i) eight = "adakv(" + eight + ")";
  refused(deep, "character 49: more than 8 presses stand inside each other");
  refused(eight, "cannot wrap 'adakv'");
  refused(std::string(kMaxPressText + 1, 'a'), "4097 characters; it may have 4096");
  refused(std::string(kMaxPressText, 'a'), "does not exist", Code::not_found);
}

TEST(PressString, WhatStandsBesideMustNotContradict) {
  const auto both = [](std::string_view text, const PressParams& beside) {
    return press_identity(parse_press(text, beside));
  };
  EXPECT_EQ(both("knorm", {.ratio = 0.5}), "knorm(ratio=0.5)");
  EXPECT_EQ(both("knorm(ratio=0.5)", {.ratio = 0.5}), "knorm(ratio=0.5)");
  EXPECT_EQ(both("adakv(knorm)", {.budget = 7}), "adakv(knorm(), safeguard=0.2, budget=7)");
  EXPECT_EQ(both("adakv(random)", {.ratio = 0.5, .seed = 3}),
            "adakv(random(seed=3), safeguard=0.2, ratio=0.5)");
  EXPECT_EQ(both("streaming_llm(n_sink=2)", {.ratio = 0.5, .numbers = {{"n_sink", 2}}}),
            "streaming_llm(n_sink=2, ratio=0.5)");
  const auto refused = [&](std::string_view text, const PressParams& beside) {
    try {
      both(text, beside);
      ADD_FAILURE() << "nothing thrown for " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request) << error.what();
    }
  };
  refused("knorm(ratio=0.5)", {.ratio = 0.6});
  refused("knorm(ratio=0.5)", {.budget = 9});
  refused("adakv(knorm(ratio=0.5))", {.ratio = 0.6});
  refused("adakv(knorm(budget=5))", {.ratio = 0.6});
  refused("composed(knorm(ratio=0.5), knorm(ratio=0.5))", {.ratio = 0.6});
  refused("random(ratio=0.5, seed=1)", {.seed = 2});
  refused("streaming_llm(n_sink=2, ratio=0.5)", {.numbers = {{"NSink", 3}}});
}

// What is taken has an identity that is a text of the same meaning; all else is an Error with a sentence.
TEST(PressString, AnyTextIsTakenOrRefused) {
  std::mt19937_64 random{test_seed()};
  const std::string_view pieces[] = {"knorm",   "adakv",     "composed", "streaming_llm",
                                     "Random",  "per_layer", "chunk_kv", "(",
                                     "(",       ")",         ")",        ")",
                                     ",",       "ratio=",    "0.5",      "[",
                                     "]",       "seed=7",    "budget=",  "20",
                                     "ratios=", " ",         "-",        "\xff"};
  int n_taken = 0;
  const auto check = [&](const std::string& text) {
    std::string first;
    try {
      first = identity(text);
    } catch (const Error& error) {
      EXPECT_NE(error.code(), Code::internal) << text;
      return;
    }
    ++n_taken;
    EXPECT_EQ(identity(first), first) << text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (uint64_t n = random() % 12; n > 0; --n) text += pieces[random() % std::size(pieces)];
    check(text);
  }
  const std::string good = "composed(adakv(knorm(ratio=0.5)), chunkkv(random(budget=20, seed=7)))";
  for (int round = 0; round < 5000; ++round) {
    std::string text = good;
    text[random() % text.size()] =
        round % 2 == 0 ? static_cast<char>(random()) : good[random() % good.size()];
    check(text);
  }
  EXPECT_GT(n_taken, 20);
}

}  // namespace
}  // namespace fastcache::press
