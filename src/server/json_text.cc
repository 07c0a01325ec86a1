// SPDX-License-Identifier: Apache-2.0
#include "server/json_text.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <iterator>

namespace fastcache::server {
namespace {

// The letter behind the backslash, or 0 where there is no short form.
char short_escape(char c) {
  switch (c) {
    case '"':
    case '\\':
      return c;
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return 0;
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t begin = 0;  // of what needs no escape
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, begin, i - begin);
    begin = i + 1;
    if (const char letter = short_escape(c); letter != 0) {
      out += '\\';
      out += letter;
    } else {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned char>(c));
    }
  }
  out.append(text, begin);
  out += '"';
}

std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

void append_json_number(std::string& out, float number) {
  fmt::format_to(std::back_inserter(out), "{}", std::isfinite(number) ? number : -9999.0f);
}

}  // namespace fastcache::server
