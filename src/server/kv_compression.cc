// SPDX-License-Identifier: Apache-2.0
#include "server/kv_compression.h"

#include <spdlog/fmt/fmt.h>

#include <cmath>

#include "engine/request_check.h"
#include "model/utf8.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::server {
namespace {

constexpr int64_t kMaxSeed = int64_t{1} << 53;  // a double holds it exactly
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

// They are there to test the interface, and cost what no user would want.
void check_is_for_users(const press::PressParams& params) {
  if (press::find_press(params.name).name.starts_with("test_"))
    throw Error{Code::not_found, fmt::format("press '{}' is a tool of fastcache's own tests", params.name)};
  for (const press::PressParams& inner : params.inner) check_is_for_users(inner);
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
  press::PressParams params = press::parse_press(text);
  // Presses around presses have no other form than their text.
  if (!params.inner.empty() || !params.lists.empty()) return {.press = std::string{text}};
  return {.press = std::move(params.name),
          .ratio = params.ratio,
          .budget = params.budget,
          .seed = params.seed,
          .parameters = std::move(params.numbers)};
}

Compression read_compression(const JsonField& field) {
  if (!field.is_string() && !field.is_object())
    field.must_be(
        R"x(a string like "knorm(ratio=0.8)" or an object like {"method": "knorm", "ratio": 0.8})x");
  try {
    Compression compression = field.is_string() ? parse_compression(field.string()) : from_object(field);
    check_is_for_users(engine::press_params(compression));
    return compression;
  } catch (const ApiError&) {
    throw;
  } catch (const Error& error) {
    field.refuse(fmt::format("{}: {}", field.path(), error.what()));
  }
}

}  // namespace fastcache::server
