// SPDX-License-Identifier: Apache-2.0
#include "image/data_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "image/decode.h"

namespace fastcache::image {
namespace {

constexpr int8_t kBlank = -1, kPadding = -2, kForeign = -3;

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<int8_t, 256> make_values() {
  std::array<int8_t, 256> values{};
  values.fill(kForeign);
  for (size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int8_t>(i);
  for (const char c : {' ', '\t', '\n', '\f', '\r'}) values[static_cast<unsigned char>(c)] = kBlank;
  values['='] = kPadding;
  return values;
}
constexpr std::array<int8_t, 256> kValues = make_values();

int8_t value_of(char c) { return kValues[static_cast<unsigned char>(c)]; }

// Without blanks and padding; nothing if a character is foreign or the padding is wrong.
std::optional<size_t> count_digits(std::string_view text) {
  size_t n_digits = 0, n_padding = 0;
  for (const char c : text) {
    const int8_t value = value_of(c);
    if (value == kForeign || (value >= 0 && n_padding > 0)) return std::nullopt;
    n_digits += value >= 0 ? 1 : 0;
    n_padding += value == kPadding ? 1 : 0;
  }
  if (n_digits % 4 == 1 || n_padding > 2) return std::nullopt;
  if (n_padding > 0 && (n_digits + n_padding) % 4 != 0) return std::nullopt;
  return n_digits;
}

bool equal_letters(std::string_view text, std::string_view lower) {
  return text.size() == lower.size() &&
         std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
           return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
         });
}

}  // namespace

std::optional<std::vector<uint8_t>> decode_base64(std::string_view text) {
  const std::optional<size_t> n_digits = count_digits(text);
  if (!n_digits) return std::nullopt;
  std::vector<uint8_t> bytes;
  bytes.reserve(*n_digits * 3 / 4);
  uint32_t bits = 0;
  int n_bits = 0;
  for (const char c : text) {
    const int8_t value = value_of(c);
    if (value < 0) continue;
    bits = (bits << 6) | static_cast<uint32_t>(value);
    n_bits += 6;
    if (n_bits < 8) continue;
    n_bits -= 8;
    bytes.push_back(static_cast<uint8_t>(bits >> n_bits));
  }
  return bytes;
}

std::string encode_base64(std::span<const uint8_t> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = (bits << 8) | (i < n ? bytes[at + i] : 0U);
    for (size_t i = 0; i < 4; ++i) text += i <= n ? kAlphabet[(bits >> (18 - 6 * i)) & 63U] : '=';
  }
  return text;
}

bool is_data_url(std::string_view url) { return equal_letters(url.substr(0, 5), "data:"); }

std::vector<uint8_t> read_data_url(std::string_view url, size_t max_bytes) {
  constexpr const char* kRight = "it must be like data:image/png;base64,iVBORw0...";
  const size_t comma = url.find(',');
  if (comma == std::string_view::npos)
    throw Error{Code::bad_request, fmt::format("the data URL has no comma before its data; {}", kRight)};
  const std::string_view head = url.substr(0, comma);
  const size_t last = head.rfind(';');
  if (last == std::string_view::npos || !equal_letters(head.substr(last), ";base64"))
    throw Error{Code::bad_request, fmt::format("the data URL is not in base64; {}", kRight)};
  const std::string_view text = url.substr(comma + 1);
  if (text.empty()) throw Error{Code::bad_request, fmt::format("the data URL is empty; {}", kRight)};
  if (const auto n_digits = count_digits(text); n_digits && *n_digits * 3 / 4 > max_bytes) {
    throw Error{Code::bad_request, fmt::format("the data URL holds {} bytes; it may hold at most {}",
                                               *n_digits * 3 / 4, max_bytes)};
  }
  std::optional<std::vector<uint8_t>> bytes = decode_base64(text);
  if (!bytes)
    throw Error{Code::bad_request,
                "the data URL's data are not base64; they must be of A-Z, a-z, 0-9, + and /, ended by ="};
  return *std::move(bytes);
}

std::string make_data_url(std::span<const uint8_t> file) {
  return fmt::format("data:image/{};base64,{}", format_name(inspect(file).format), encode_base64(file));
}

}  // namespace fastcache::image
