// SPDX-License-Identifier: Apache-2.0
// The files of report/ as they stood when the program was built (cmake/embed.cmake). Thread-safe: constants.
#pragma once

#include <span>
#include <string_view>

namespace fastcache::eval {

struct WebFile {
  std::string_view name;  // "report.css"
  std::string_view bytes;
};

std::span<const WebFile> web_files();

}  // namespace fastcache::eval
