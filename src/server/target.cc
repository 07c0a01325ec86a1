// SPDX-License-Identifier: Apache-2.0
#include "server/target.h"

namespace fastcache::server {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) c = ' ';
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    out.push_back(c);
  }
  return out;
}

bool parse_query(std::string_view text, std::map<std::string, std::string>& query) {
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(pair.size() == text.size() ? pair.size() : pair.size() + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    const auto name = percent_decode(pair.substr(0, equals), true);
    const auto value = percent_decode(equals == pair.npos ? "" : pair.substr(equals + 1), true);
    if (!name || !value) return false;
    query[*name] = *value;
  }
  return true;
}

// Clients of proxies send the whole URL; servers must take it (RFC 9112, 3.2.2).
std::string without_scheme_and_host(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    const size_t end = target.find_first_of("/?#", scheme.size());
    std::string rest(end == target.npos ? "" : target.substr(end));
    if (!rest.starts_with('/')) rest.insert(0, 1, '/');
    return rest;
  }
  return std::string(target);
}

}  // namespace

std::optional<Target> parse_target(std::string_view target) {
  if (target == "*") return Target{"*", {}};
  const std::string whole = without_scheme_and_host(target);
  if (!whole.starts_with('/')) return std::nullopt;
  target = std::string_view(whole).substr(0, whole.find('#'));
  const size_t question = target.find('?');
  const auto path = percent_decode(target.substr(0, question), false);
  if (!path) return std::nullopt;
  Target out;
  out.path = *path;
  if (question != target.npos && !parse_query(target.substr(question + 1), out.query)) return std::nullopt;
  return out;
}

}  // namespace fastcache::server
