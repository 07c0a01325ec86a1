// SPDX-License-Identifier: Apache-2.0
#include "server/json_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace fastcache::server {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::chrono::system_clock::time_point kTime{milliseconds(1'769'903'999'007)};

TEST(JsonLog, Message) {
  const std::string line = json_log_line(kTime, "info", "quotes \" and\nlines \x1b[2J and \xff");
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const json object = json::parse(line);
  EXPECT_EQ(object["time"], "2026-01-31T23:59:59.007Z");
  EXPECT_EQ(object["level"], "info");
  EXPECT_TRUE(object["message"].get<std::string>().starts_with("quotes \" and"));
}

TEST(JsonLog, ObjectStandsAsItIs) {
  const std::string object = R"({"time":"now","status":200})";
  EXPECT_EQ(json_log_line(kTime, "info", object), object);
}

TEST(JsonLog, WhatOnlyLooksLikeAnObject) {
  EXPECT_EQ(json::parse(json_log_line(kTime, "warning", "{braces}"))["message"], "{braces}");
  EXPECT_EQ(json::parse(json_log_line(kTime, "warning", ""))["message"], "");
  EXPECT_EQ(json::parse(json_log_line(kTime, "warning", "{}"))["message"], "{}");
}

}  // namespace
}  // namespace fastcache::server
