// SPDX-License-Identifier: Apache-2.0
#include "bench/load_url.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::bench {
namespace {

[[noreturn]] void refuse(const std::string& url, const char* why) {
  throw Error{
      Code::bad_request,
      fmt::format("--url {}: {}; it must be http://HOST:PORT, such as http://127.0.0.1:8080", url, why)};
}

bool is_port(std::string_view text) {
  int port = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && at == text.data() + text.size() && port >= 1 && port <= 65535;
}

std::string base_path(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  if (path.ends_with("/v1")) path.remove_suffix(3);
  return std::string(path);
}

// "host", "host:port", "[::1]:port"
void read_authority(LoadUrl& parsed, std::string_view rest, const std::string& url) {
  std::string_view port;
  if (rest.starts_with('[')) {
    const size_t close = rest.find(']');
    if (close == std::string_view::npos) refuse(url, "the address lacks its ]");
    parsed.host = rest.substr(1, close - 1);
    port = rest.substr(close + 1);
  } else {
    const size_t colon = std::min(rest.find(':'), rest.size());
    parsed.host = rest.substr(0, colon);
    port = rest.substr(colon);
  }
  if (parsed.host.empty()) refuse(url, "the host is missing");
  if (!port.empty() && (port[0] != ':' || !is_port(port.substr(1))))
    refuse(url, "the port must be 1 to 65535");
  parsed.port = port.empty() ? "80" : std::string(port.substr(1));
}

}  // namespace

LoadUrl parse_load_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  const auto is_outside_urls = [](unsigned char c) { return c <= ' ' || c >= 0x7f; };
  if (std::any_of(url.begin(), url.end(), is_outside_urls))
    refuse(url, "there is a character that no URL has");
  if (url.starts_with("https://")) {
    throw Error{
        Code::unsupported,
        fmt::format("--url {}: TLS is not spoken here; use the http:// address of the server itself", url)};
  }
  if (!url.starts_with(kScheme)) refuse(url, "it does not begin with http://");
  const std::string_view rest = std::string_view(url).substr(kScheme.size());
  if (rest.find_first_of("?#@") != std::string_view::npos)
    refuse(url, "there must be no user, query or fragment");
  const size_t slash = std::min(rest.find('/'), rest.size());
  LoadUrl parsed;
  parsed.authority = rest.substr(0, slash);
  parsed.base_path = base_path(rest.substr(slash));
  read_authority(parsed, parsed.authority, url);
  return parsed;
}

}  // namespace fastcache::bench
