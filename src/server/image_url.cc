// SPDX-License-Identifier: Apache-2.0
#include "server/image_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace fastcache::server {
namespace {

constexpr uint16_t kHttp = 80, kHttps = 443;

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return made;
}

[[noreturn]] void refuse(std::string_view url, const char* why) {
  throw Error{Code::bad_request, fmt::format("{} cannot be a picture's address: {}; it must be like "
                                             "https://example.org/picture.png",
                                             shown(url), why)};
}

uint16_t read_port(std::string_view text, std::string_view url) {
  unsigned port = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || at != text.data() + text.size() || port < 1 || port > 65535)
    refuse(url, "the port must be 1 to 65535");
  return static_cast<uint16_t>(port);
}

void read_authority(ImageUrl& parsed, std::string_view authority, std::string_view url) {
  size_t host_end = std::min(authority.find(':'), authority.size());
  std::string_view host = authority.substr(0, host_end);
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) refuse(url, "the address lacks its ]");
    host = authority.substr(1, close - 1);
    host_end = close + 1;
  }
  const std::string_view port = authority.substr(host_end);
  if (host.empty()) refuse(url, "the host is missing");
  if (!port.empty() && port[0] != ':') refuse(url, "something stands behind the host");
  parsed.host = lower(host);
  parsed.port = parsed.tls ? kHttps : kHttp;
  if (port.size() > 1) parsed.port = read_port(port.substr(1), url);
}

std::string in_brackets(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

}  // namespace

std::string ImageUrl::authority() const {
  if (port == (tls ? kHttps : kHttp)) return in_brackets(host);
  return fmt::format("{}:{}", in_brackets(host), port);
}

bool is_http_url(std::string_view url) {
  const std::string head = lower(url.substr(0, 8));
  return head.starts_with("http://") || head == "https://";
}

ImageUrl parse_image_url(std::string_view url) {
  // a backslash is a slash to some and a character to others
  const auto is_foreign = [](unsigned char c) { return c <= ' ' || c >= 0x7f || c == '\\'; };
  if (std::any_of(url.begin(), url.end(), is_foreign)) refuse(url, "there is a character that no URL has");
  if (!is_http_url(url)) refuse(url, "it does not begin with https:// or http://");
  const size_t slashes = url.find("//");
  ImageUrl parsed{.tls = slashes == 6};
  const std::string_view rest = url.substr(slashes + 2, url.find('#') - slashes - 2);
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  const std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos) refuse(url, "there must be no user or password");
  read_authority(parsed, authority, url);
  parsed.target = fmt::format("{}{}", rest.substr(end).starts_with('/') ? "" : "/", rest.substr(end));
  return parsed;
}

ImageUrl follow(const ImageUrl& from, std::string_view location) {
  const std::string scheme = from.tls ? "https:" : "http:";
  std::string whole(location);
  if (location.starts_with("//"))
    whole = scheme + whole;
  else if (location.starts_with("/"))
    whole = scheme + "//" + from.authority() + whole;
  const ImageUrl next = parse_image_url(whole);
  if (from.tls && !next.tls) refuse(whole, "it redirects from https to http");
  return next;
}

bool is_allowed(const std::vector<std::string>& hosts, const ImageUrl& url) {
  const bool usual_port = url.port == kHttp || url.port == kHttps;
  const std::string with_port = fmt::format("{}:{}", in_brackets(url.host), url.port);
  return std::any_of(hosts.begin(), hosts.end(), [&](const std::string& entry) {
    const std::string allowed = lower(entry);
    return allowed == with_port || (usual_port && (allowed == url.host || allowed == in_brackets(url.host)));
  });
}

std::string shown(std::string_view url) {
  constexpr size_t kMost = 120;
  std::string text;
  for (const char c : url.substr(0, kMost)) text += c >= ' ' && c < '\x7f' ? c : '?';
  return url.size() > kMost ? text + "..." : text;
}

}  // namespace fastcache::server
