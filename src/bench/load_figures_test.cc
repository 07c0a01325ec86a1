// SPDX-License-Identifier: Apache-2.0
#include "bench/load_figures.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace fastcache::bench {
namespace {

const std::vector<DeltaTime> kQuick{{110, 1}, {120, 1}, {130, 1}}, kSlow{{600, 1}, {2000, 1}}, kOne{{50, 1}};

// Of 3, 15 (fewer chunks than tokens) and 1 tokens.
std::vector<RequestTiming> three() {
  return {{.start_ms = 100, .deltas = kQuick, .input_tokens = 7, .output_tokens = 3},
          {.start_ms = 0, .deltas = kSlow, .input_tokens = 20, .output_tokens = 15},
          {.start_ms = 0, .deltas = kOne, .input_tokens = 1, .output_tokens = 1}};
}

TEST(LoadFigures, TokensAreTheServersAndTimesTheChunks) {
  const LoadFigures figures = load_figures(three(), 2);
  EXPECT_EQ(figures.completed, 3);
  EXPECT_EQ(figures.failed, 2);
  EXPECT_DOUBLE_EQ(figures.duration_s, 2);
  EXPECT_EQ(figures.total_input_tokens, 28);
  EXPECT_EQ(figures.total_output_tokens, 19);
  EXPECT_DOUBLE_EQ(figures.request_throughput, 1.5);
  EXPECT_DOUBLE_EQ(figures.output_throughput, 9.5);
  EXPECT_DOUBLE_EQ(figures.total_token_throughput, 23.5);
  EXPECT_DOUBLE_EQ(figures.ttft.mean_ms, 220);  // 10, 600, 50
  EXPECT_DOUBLE_EQ(figures.ttft.median_ms, 50);
  EXPECT_DOUBLE_EQ(figures.tpot.mean_ms, 55);  // 20 / 2, 1400 / 14
  EXPECT_DOUBLE_EQ(figures.itl.mean_ms, (10 + 10 + 1400) / 3.0);
  EXPECT_DOUBLE_EQ(figures.e2el.p99_ms, 2000 - 0.02 * 1950);  // 30, 2000, 50
}

TEST(LoadFigures, GoodAreThoseThatKeepAllLimits) {
  const auto good = [](const std::vector<std::string>& limits) {
    return load_figures(three(), 1, parse_goodput(limits)).request_goodput * 2;
  };
  EXPECT_DOUBLE_EQ(good({}), 3);
  EXPECT_DOUBLE_EQ(good({"ttft:50"}), 2);
  EXPECT_DOUBLE_EQ(good({"ttft:49.9"}), 1);
  EXPECT_DOUBLE_EQ(good({"tpot:9"}), 1) << "one token has no TPOT to miss";
  EXPECT_DOUBLE_EQ(good({"tpot:100", "e2el:1999"}), 2);
  EXPECT_DOUBLE_EQ(good({"tpot:9", "ttft:10"}), 0);
}

TEST(LoadFigures, NothingCompletedIsNoDivisionByZero) {
  const LoadFigures figures = load_figures({}, 3);
  EXPECT_EQ(figures.failed, 3);
  EXPECT_EQ(figures.request_throughput, 0);
  EXPECT_EQ(figures.request_goodput, 0);
  EXPECT_TRUE(std::isnan(figures.ttft.mean_ms));
}

TEST(LoadFigures, GoodputIsReadOrRefused) {
  EXPECT_FALSE(parse_goodput({}).is_asked_for());
  const Goodput goodput = parse_goodput({"ttft:500", "tpot:2.5"});
  EXPECT_TRUE(goodput.is_asked_for());
  EXPECT_EQ(goodput.ttft_ms, 500);
  EXPECT_EQ(goodput.tpot_ms, 2.5);
  EXPECT_TRUE(std::isinf(goodput.e2el_ms));
  for (const char* wrong :
       {"", "ttft", "ttft:", "ttft:x", "ttft:5ms", "ttft:-1", "ttft:nan", "ttft:inf", "itl:5", ":5"})
    EXPECT_THROW(parse_goodput({wrong}), Error) << wrong;
}

}  // namespace
}  // namespace fastcache::bench
