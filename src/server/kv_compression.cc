// SPDX-License-Identifier: Apache-2.0
#include "server/kv_compression.h"

#include <spdlog/fmt/fmt.h>

#include <charconv>
#include <cmath>

#include "model/utf8.h"
#include "press/registry.h"

namespace fastcache::server {
namespace {

constexpr int64_t kMaxSeed = int64_t{1} << 53;  // a double holds it exactly
constexpr std::string_view kSpaces = " \t\r\n";

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw Error{Code::bad_request,
              fmt::format("'{}' {}; it must be like knorm(ratio=0.8)", model::displayable(text), why)};
}

double parse_number(std::string_view text, std::string_view whole) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(number))
    refuse(whole, fmt::format("has the value '{}', which is no number", model::displayable(text)));
  return number;
}

int64_t whole_number(const std::string& key, double value, int64_t most) {
  if (value >= 0 && value <= static_cast<double>(most) && value == std::floor(value))
    return static_cast<int64_t>(value);
  throw Error{Code::bad_request, fmt::format("{} is {}; it must be a whole number from 0 to {}",
                                             model::displayable(key), value, most)};
}

void set(Compression& compression, const std::string& key, double value) {
  if (key == "ratio")
    compression.ratio = value;
  else if (key == "budget")
    compression.budget = static_cast<int>(whole_number(key, value, std::numeric_limits<int>::max()));
  else if (key == "seed")
    compression.seed = static_cast<uint64_t>(whole_number(key, value, kMaxSeed));
  else
    compression.parameters[key] = value;
}

Compression from_object(const JsonField& field) {
  constexpr double kMost = std::numeric_limits<double>::max();
  Compression compression;
  compression.press = field.need("method", "the name of a press").string("the name of a press");
  for (const auto& [key, value] : field.json().items()) {
    if (key == "method" || value.is_null()) continue;
    set(compression, key, JsonField(value, field.path_of(key)).number(-kMost, kMost));
  }
  return compression;
}

}  // namespace

Compression parse_compression(std::string_view text) {
  Compression compression;
  const std::string_view trimmed = trim(text);
  const size_t open = trimmed.find('(');
  compression.press = std::string{trim(trimmed.substr(0, open))};
  if (compression.press.empty()) refuse(text, "names no press");
  if (open == std::string_view::npos) return compression;
  if (!trimmed.ends_with(')')) refuse(text, "does not end with ')'");
  std::string_view rest = trim(trimmed.substr(open + 1, trimmed.size() - open - 2));
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view entry = rest.substr(0, comma);
    const size_t equals = entry.find('=');
    const std::string key{trim(entry.substr(0, equals))};
    if (equals == std::string_view::npos || key.empty())
      refuse(text, fmt::format("has '{}' where key=value belongs", model::displayable(entry)));
    set(compression, key, parse_number(trim(entry.substr(equals + 1)), text));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
    if (trim(rest).empty()) refuse(text, "has a comma at its end");
  }
  return compression;
}

Compression read_compression(const JsonField& field) {
  if (!field.is_string() && !field.is_object())
    field.must_be(
        R"x(a string like "knorm(ratio=0.8)" or an object like {"method": "knorm", "ratio": 0.8})x");
  try {
    Compression compression = field.is_string() ? parse_compression(field.string()) : from_object(field);
    press::complete({.name = compression.press,
                     .ratio = compression.ratio,
                     .budget = compression.budget,
                     .seed = compression.seed,
                     .numbers = compression.parameters});
    return compression;
  } catch (const ApiError&) {
    throw;
  } catch (const Error& error) {
    field.refuse(fmt::format("{}: {}", field.path(), error.what()));
  }
}

}  // namespace fastcache::server
