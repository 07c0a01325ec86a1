// SPDX-License-Identifier: Apache-2.0
// Reading JSON from outside: whatever is wrong becomes an ApiError (bad_request) that names the field, what
// it is and what would be right.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"

namespace fastcache::server {

// Ordered: a schema's properties are answered in the order in which they were given.
using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 100;
inline constexpr size_t kMaxJsonValues = 1'000'000;
inline constexpr size_t kMaxObjectMembers = 2000;  // of one: an ordered object looks a name up by walking
inline constexpr size_t kMaxJsonMembers = 200'000;

// An object in UTF-8 within the bounds above; of equal names the last counts. Throws ApiError (bad_request).
Json parse_json_object(std::string_view body);

// A value and its place in the body. The body must outlive it.
class JsonField {
 public:
  JsonField(const Json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const Json& json() const { return *value_; }
  const std::string& path() const { return path_; }
  bool is_string() const { return value_->is_string(); }
  bool is_array() const { return value_->is_array(); }
  bool is_object() const { return value_->is_object(); }

  // Each throws where the value is another one; `right` says what it may be, "a string".
  bool boolean() const;
  int64_t integer(int64_t least, int64_t most) const;  // 5.0 is one too
  int whole(int least, int most) const { return static_cast<int>(integer(least, most)); }
  double number(double least, double most) const;
  const std::string& string(const std::string& right = "a string") const;
  std::vector<JsonField> items(const std::string& right = "an array") const;
  void must_be_object(const std::string& right = "an object") const;

  // Of an object. Null is as good as absent.
  std::optional<JsonField> find(const char* name) const;
  JsonField need(const char* name, const std::string& right) const;  // throws where it is absent
  std::string path_of(std::string_view name) const;

  std::string what_it_is() const;                             // "a string", "the number 7"
  [[noreturn]] void must_be(const std::string& right) const;  // "stop is an object; it must be ..."
  [[noreturn]] void refuse(const std::string& sentence) const;

 private:
  const Json* value_;
  std::string path_;
};

// An array of token ids; whether the vocabulary has them is for others.
std::vector<int32_t> read_token_ids(const JsonField& field);

}  // namespace fastcache::server
