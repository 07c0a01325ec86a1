// SPDX-License-Identifier: Apache-2.0
// The address of a server: http://host:port, with or without a path in front of the API's own.
#pragma once

#include <string>

namespace fastcache::bench {

struct LoadUrl {
  std::string host;       // without the brackets of an IPv6 address
  std::string port;       // decimal
  std::string base_path;  // "" or "/prefix"; a final "/v1" belongs to the endpoints
  std::string authority;  // the Host header
};

// Throws Error: bad_request; unsupported for https.
LoadUrl parse_load_url(const std::string& url);

}  // namespace fastcache::bench
