// SPDX-License-Identifier: Apache-2.0
// The log for programs: each line a JSON object.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

namespace fastcache::server {

// {"time": "2026-01-31T23:59:59.123Z", "level": "info", "message": "..."}; a message that is a
// JSON object already stands as it is.
std::string json_log_line(std::chrono::system_clock::time_point time, std::string_view level,
                          std::string_view message);

// From here on log() writes such lines. Thread-safe.
void log_as_json();

}  // namespace fastcache::server
