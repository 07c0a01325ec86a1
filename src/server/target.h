// SPDX-License-Identifier: Apache-2.0
// The request target: what stands between the method and the version. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace fastcache::server {

struct Target {
  std::string path;                          // decoded, begins with '/'; or "*"
  std::map<std::string, std::string> query;  // decoded; the last one of a name counts
};

// "/a%20b?c=d", "http://host/a?c=d" or "*". Nothing where it is none of these, an escape is broken, or a zero
// byte is hidden in it.
std::optional<Target> parse_target(std::string_view target);

}  // namespace fastcache::server
