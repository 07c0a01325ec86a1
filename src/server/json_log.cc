// SPDX-License-Identifier: Apache-2.0
#include "server/json_log.h"

#include <spdlog/fmt/chrono.h>
#include <spdlog/formatter.h>

#include <memory>

#include "base/log.h"
#include "model/utf8.h"
#include "server/json_text.h"

namespace fastcache::server {
namespace {

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    const auto level = spdlog::level::to_string_view(message.level);
    const std::string line = json_log_line(message.time, {level.data(), level.size()},
                                           {message.payload.data(), message.payload.size()});
    out.append(line.data(), line.data() + line.size());
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

}  // namespace

std::string json_log_line(std::chrono::system_clock::time_point time, std::string_view level,
                          std::string_view message) {
  if (message.starts_with(R"({")") && message.ends_with('}')) return std::string(message);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  std::string line = fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%S}.{:03}Z","level":"{}",)",
                                 fmt::gmtime(static_cast<std::time_t>(ms / 1000)), ms % 1000, level);
  line += R"("message":)";
  append_json_string(line, model::displayable(message));
  return line + '}';
}

void log_as_json() { log().set_formatter(std::make_unique<JsonFormatter>()); }

}  // namespace fastcache::server
