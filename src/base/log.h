// SPDX-License-Identifier: Apache-2.0
// The logger: the program's only global mutable state. Thread-safe. Writes to standard error.
#pragma once

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <string>

namespace fastcache {

spdlog::logger& log();

// "trace", "debug", "info", "warn", "error" or "off"; throws Error (bad_request) for anything else.
void set_log_level(const std::string& level);

}  // namespace fastcache
