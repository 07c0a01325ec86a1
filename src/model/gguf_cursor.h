// SPDX-License-Identifier: Apache-2.0
// Reading forward through an untrusted file: no step goes past the end, and each error says where it is.
// Private to gguf_check.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace fastcache::model {

std::string printable(std::string_view text);  // ASCII, the rest as \x00; at most 80 characters

class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> file, const std::string& path) : file_(file), path_(path) {}

  [[noreturn]] void fail(uint64_t offset, const std::string& what) const;  // throws Error (invalid_model)

  uint64_t at() const { return at_; }
  uint64_t remaining() const { return file_.size() - at_; }
  uint64_t size() const { return file_.size(); }
  const std::byte* data(uint64_t offset) const { return file_.data() + offset; }

  // Moves past n bytes and returns where they began. `what` names them in the message, here and below.
  uint64_t skip(uint64_t n, const std::string& what);

  template <class T>
  T value(const std::string& what) {
    T result;
    std::memcpy(&result, file_.data() + skip(sizeof(T), what), sizeof(T));
    return result;
  }

  std::string_view string(uint64_t max_length, const std::string& what);
  // string() without the cost of making its messages: a vocabulary holds hundreds of thousands.
  void skip_string(uint64_t max_length, const std::string& what);
  // Not empty and without a zero byte: C code, to which names are handed later, would take two names for one.
  std::string_view name(uint64_t max_length, const std::string& what);

 private:
  std::span<const std::byte> file_;
  const std::string& path_;
  uint64_t at_ = 0;
};

}  // namespace fastcache::model
