// SPDX-License-Identifier: Apache-2.0
// Results in files; JSON for "-" to standard output.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace fastcache::cli {

// For before the work, which takes minutes. An older result stays until there is a new one. Throws Error
// (io).
void check_writable(const std::string& path);

// Throws Error (io).
void write_json(const nlohmann::json& json, const std::string& path);

// Throws Error (io).
void write_text(const std::string& text, const std::string& path);

}  // namespace fastcache::cli
