// SPDX-License-Identifier: Apache-2.0
#include "server/request_log.h"

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

#include <chrono>

#include "base/log.h"

namespace fastcache::server {
namespace {

std::string now_utc() {
  const auto now = std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto ms = now.time_since_epoch().count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(ms / 1000)),
                     ms % 1000);
}

}  // namespace

std::string printable(const std::string& text) {
  constexpr size_t kLongest = 200;
  std::string out;
  for (const unsigned char c : text.substr(0, kLongest)) {
    if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out.push_back(static_cast<char>(c));
    }
  }
  if (text.size() > kLongest) out += "...";
  return out.empty() ? "-" : out;
}

std::string request_line_text(const RequestRecord& r) {
  return fmt::format("{} {} \"{} {}\" {} {:.1f} ms {} bytes{}", r.id, r.peer, printable(r.method),
                     printable(r.path), r.status, r.ms, r.bytes, r.cut ? ", cut" : "");
}

std::string request_line_json(const RequestRecord& r) {
  const nlohmann::json object = {{"time", now_utc()},
                                 {"level", "info"},
                                 {"id", r.id},
                                 {"peer", r.peer},
                                 {"method", printable(r.method)},
                                 {"path", printable(r.path)},
                                 {"status", r.status},
                                 {"ms", r.ms},
                                 {"bytes", r.bytes},
                                 {"cut", r.cut}};
  return object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void log_request(const RequestRecord& record, bool as_json) {
  if (!log().should_log(spdlog::level::info)) return;
  log().info("{}", as_json ? request_line_json(record) : request_line_text(record));
}

}  // namespace fastcache::server
