// SPDX-License-Identifier: Apache-2.0
#include "model/utf8.h"

namespace fastcache::model {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Kind { whole, unfinished, invalid };
struct Character {
  Kind kind;
  size_t length;  // whole: its bytes; else: those that belong to the broken beginning, at least 1
};

// Looks at the character that begins text (not empty).
// source: table 3-7 of the Unicode standard
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Kind::whole, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Kind::invalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned char low = 0x80, high = 0xBF;  // of the second byte
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Kind::unfinished, i};
    if (byte(i) < low || byte(i) > high) return {Kind::invalid, i};
    low = 0x80, high = 0xBF;
  }
  return {Kind::whole, length};
}

// U+0000 to U+001F, U+007F, and U+0080 to U+009F (C2 80 to C2 9F), some of which terminals obey too.
std::string without_controls(std::string_view text, std::string_view allowed) {
  Utf8Stream stream;
  std::string valid = stream.push(text);
  valid += stream.flush();
  std::string out;
  for (size_t i = 0; i < valid.size(); ++i) {
    const auto byte = static_cast<unsigned char>(valid[i]);
    if (byte == 0xC2 && static_cast<unsigned char>(valid[i + 1]) < 0xA0) {
      out += ' ';
      ++i;
      continue;
    }
    const bool control = byte < 0x20 || byte == 0x7F;
    out += control && allowed.find(valid[i]) == std::string_view::npos ? ' ' : valid[i];
  }
  return out;
}

}  // namespace

std::optional<size_t> find_invalid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Character character = first_character(text.substr(at));
    if (character.kind != Kind::whole) return at;
    at += character.length;
  }
  return std::nullopt;
}

std::string displayable(std::string_view text) { return without_controls(text, ""); }

std::string displayable_lines(std::string_view text) { return without_controls(text, "\n\t"); }

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  const std::string_view text = held_;
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const Character character = first_character(text.substr(at));
    if (character.kind == Kind::unfinished) break;
    if (character.kind == Kind::whole)
      out += text.substr(at, character.length);
    else
      out += kReplacement;
    at += character.length;
  }
  held_.erase(0, at);
  return out;
}

std::string Utf8Stream::flush() {
  const bool unfinished = !held_.empty();
  held_.clear();
  return std::string(unfinished ? kReplacement : "");
}

}  // namespace fastcache::model
