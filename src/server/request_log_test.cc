// SPDX-License-Identifier: Apache-2.0
#include "server/request_log.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <random>

#include "base/test_seed.h"
#include "server/request_id.h"

namespace fastcache::server {
namespace {

TEST(RequestLog, TheLine) {
  const RequestRecord record{"req-1", "127.0.0.1:80", "GET", "/v1/models", 200, 1.25, 17, false};
  EXPECT_EQ(request_line_text(record), "req-1 127.0.0.1:80 \"GET /v1/models\" 200 1.2 ms 17 bytes");
  const auto json = nlohmann::json::parse(request_line_json(record));
  EXPECT_EQ(json["id"], "req-1");
  EXPECT_EQ(json["path"], "/v1/models");
  EXPECT_EQ(json["status"], 200);
  EXPECT_EQ(json["bytes"], 17);
  EXPECT_EQ(json["cut"], false);
}

TEST(RequestLog, APathCannotMakeALine) {
  EXPECT_EQ(printable("/a\nreq-2 \"x\"\x1b[1m\xff"), "/a\\x0areq-2 \\x22x\\x22\\x1b[1m\\xff");
  EXPECT_EQ(printable(std::string(300, 'a')), std::string(200, 'a') + "...");
  EXPECT_EQ(printable(""), "-");
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 1000; ++round) {
    std::string path(random() % 50, ' ');
    for (char& c : path) c = static_cast<char>(random());
    const RequestRecord record{"id", "peer", path, path, 404, 0, 0, true};
    EXPECT_EQ(request_line_text(record).find_first_of(std::string("\n\r\0", 3)), std::string::npos);
    EXPECT_TRUE(nlohmann::json::accept(request_line_json(record)));
  }
}

TEST(RequestId, OnlyWhatIsSafeInLogsAndHeaders) {
  for (const char* good : {"a", "req-1.2:3_4", "0123"}) EXPECT_TRUE(is_request_id(good));
  const std::string zero("a\0b", 3);
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("a\n"),
                                 std::string("\xc3\xa4"), zero, std::string(129, 'a')}) {
    EXPECT_FALSE(is_request_id(bad)) << bad;
  }
  RequestIds ids;
  const std::string first = ids.next();
  EXPECT_TRUE(is_request_id(first));
  EXPECT_EQ(first.size(), 28u);
  EXPECT_NE(first, ids.next());
}

}  // namespace
}  // namespace fastcache::server
