// SPDX-License-Identifier: Apache-2.0
// Which other sites' pages may call the server from a browser (CORS).
#pragma once

#include <string>
#include <vector>

#include "server/http.h"

namespace fastcache::server {

class Cors {
 public:
  // "https://example.org" each, or "*" for all. Throws Error (bad_request) for what is no origin.
  explicit Cors(std::vector<std::string> origins = {});

  bool allows(const std::string& origin) const;
  // What an answer to a request from `origin` (empty: none was named) carries.
  Headers answer_headers(const std::string& origin) const;
  // And beside it where the browser asks first; `methods` as in Allow.
  Headers preflight_headers(const std::string& origin, const std::string& methods) const;

 private:
  std::vector<std::string> origins_;
};

}  // namespace fastcache::server
