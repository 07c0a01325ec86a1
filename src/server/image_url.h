// SPDX-License-Identifier: Apache-2.0
// The URLs of pictures on other machines, and the list of hosts that may be asked. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::server {

struct ImageUrl {
  bool tls = false;
  std::string host = {};  // lower case; without the brackets of an IPv6 address
  uint16_t port = 80;
  std::string target = {};  // "/a.png?b=c"

  std::string authority() const;  // of the Host header: without the scheme's own port
};

bool is_http_url(std::string_view url);  // begins with http:// or https://, in any case of letters

// Throws Error (bad_request): a user or password, no host, characters that no URL has, a port that is none.
ImageUrl parse_image_url(std::string_view url);

// What a redirect's Location means, seen from `from`. Throws Error (bad_request): also one from https to
// http.
ImageUrl follow(const ImageUrl& from, std::string_view location);

// hosts: "example.org" (ports 80 and 443) or "example.org:8443", compared as a whole.
bool is_allowed(const std::vector<std::string>& hosts, const ImageUrl& url);

// What a log or an error shows of an address: not all of a long one.
std::string shown(std::string_view url);

}  // namespace fastcache::server
