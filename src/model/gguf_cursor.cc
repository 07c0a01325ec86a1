// SPDX-License-Identifier: Apache-2.0
#include "model/gguf_cursor.h"

#include <spdlog/fmt/fmt.h>

#include <cctype>

#include "base/error.h"

namespace fastcache::model {

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isprint(byte) != 0)
      out += c;
    else
      out += fmt::format("\\x{:02x}", byte);
  }
  if (text.size() > 80) out += "...";
  return out;
}

void GgufCursor::fail(uint64_t offset, const std::string& what) const {
  throw Error{Code::invalid_model, fmt::format("{}: byte {}: {}", path_, offset, what)};
}

uint64_t GgufCursor::skip(uint64_t n, const std::string& what) {
  if (n > remaining()) {
    fail(at_, fmt::format("{} takes {} bytes, but the file ends after {}; it is cut off or broken", what, n,
                          remaining()));
  }
  const uint64_t begin = at_;
  at_ += n;
  return begin;
}

std::string_view GgufCursor::string(uint64_t max_length, const std::string& what) {
  const uint64_t begin = at_;
  const auto length = value<uint64_t>("the length of " + what);
  if (length > max_length)
    fail(begin, fmt::format("{} is {} bytes long; at most {} are allowed", what, length, max_length));
  const uint64_t text = skip(length, what);
  return {reinterpret_cast<const char*>(file_.data() + text), length};
}

void GgufCursor::skip_string(uint64_t max_length, const std::string& what) {
  uint64_t length;
  if (remaining() >= sizeof length) {
    std::memcpy(&length, file_.data() + at_, sizeof length);
    if (length <= max_length && length <= remaining() - sizeof length) {
      at_ += sizeof length + length;
      return;
    }
  }
  string(max_length, what);  // throws
}

std::string_view GgufCursor::name(uint64_t max_length, const std::string& what) {
  const uint64_t begin = at_;
  const std::string_view text = string(max_length, what);
  if (text.empty()) fail(begin, what + " is empty");
  if (text.find('\0') != std::string_view::npos) fail(begin, what + " contains a zero byte");
  return text;
}

}  // namespace fastcache::model
