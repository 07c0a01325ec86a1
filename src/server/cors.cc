// SPDX-License-Identifier: Apache-2.0
#include "server/cors.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"

namespace fastcache::server {
namespace {

// scheme "://" host [":" port]; browsers send it without a path.
bool is_origin(const std::string& text) {
  const size_t host = text.find("://");
  return host != 0 && host != text.npos && host + 3 < text.size() &&
         text.find_first_of("/ \t", host + 3) == text.npos;
}

}  // namespace

Cors::Cors(std::vector<std::string> origins) : origins_(std::move(origins)) {
  for (const std::string& origin : origins_) {
    if (origin != "*" && !is_origin(origin)) {
      throw Error{
          Code::bad_request,
          fmt::format("CORS origin '{}' must be '*' or like https://example.org, without a path", origin)};
    }
  }
}

bool Cors::allows(const std::string& origin) const {
  return !origin.empty() && std::any_of(origins_.begin(), origins_.end(),
                                        [&](const std::string& one) { return one == "*" || one == origin; });
}

Headers Cors::answer_headers(const std::string& origin) const {
  if (origins_.empty()) return {};
  Headers headers{{"Vary", "Origin"}};
  if (!allows(origin)) return headers;
  const bool all = std::find(origins_.begin(), origins_.end(), "*") != origins_.end();
  headers.emplace_back("Access-Control-Allow-Origin", all ? "*" : origin);
  headers.emplace_back("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
  return headers;
}

Headers Cors::preflight_headers(const std::string& origin, const std::string& methods) const {
  if (!allows(origin)) return {};
  return {{"Access-Control-Allow-Methods", methods},
          {"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Request-Id"},
          {"Access-Control-Max-Age", "600"}};
}

}  // namespace fastcache::server
