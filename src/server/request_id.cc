// SPDX-License-Identifier: Apache-2.0
#include "server/request_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>

namespace fastcache::server {

std::string RequestIds::next() { return fmt::format("req-{:016x}{:08x}", chance_(), chance_() >> 32); }

bool is_request_id(std::string_view text) {
  const auto fits = [](unsigned char c) {
    return c > 0 && c < 128 && (std::isalnum(c) || std::strchr("-_.:", c) != nullptr);
  };
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), fits);
}

}  // namespace fastcache::server
