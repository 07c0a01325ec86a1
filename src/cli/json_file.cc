// SPDX-License-Identifier: Apache-2.0
#include "cli/json_file.h"

#include <cstdio>
#include <fstream>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::cli {

void check_writable(const std::string& path) {
  if (path.empty() || path == "-") return;
  if (!std::ofstream(path, std::ios::app)) throw Error{Code::io, fmt::format("{} cannot be written", path)};
}

void write_json(const nlohmann::json& json, const std::string& path) {
  // Names of files need not be UTF-8.
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  if (path == "-") {
    std::printf("%s\n", text.c_str());
    return;
  }
  std::ofstream file(path);
  file << text << '\n';
  if (!file.flush()) throw Error{Code::io, fmt::format("{} cannot be written", path)};
}

void write_text(const std::string& text, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw Error{Code::io, fmt::format("{} cannot be written", path)};
}

}  // namespace fastcache::cli
