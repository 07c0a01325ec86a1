// SPDX-License-Identifier: Apache-2.0
#include "model/json_schema.h"

#include <json-schema-to-grammar.h>  // of llama-common
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <exception>

#include "base/error.h"

namespace fastcache::model {
namespace {

// Brackets outside of strings. What is not JSON is found later; the depth is right for what is.
int depth_of(const std::string& json) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '{' || c == '[')) {
      deepest = std::max(deepest, ++depth);
    } else if (!in_string && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return deepest;
}

}  // namespace

std::string grammar_of_json_schema(const std::string& schema) {
  if (schema.size() > kMaxSchemaBytes) {
    throw Error{Code::bad_request, fmt::format("json_schema has {} bytes; it may have at most {}",
                                               schema.size(), kMaxSchemaBytes)};
  }
  if (const int depth = depth_of(schema); depth > kMaxSchemaDepth) {
    throw Error{Code::bad_request, fmt::format("json_schema is nested {} deep; at most {} are possible",
                                               depth, kMaxSchemaDepth)};
  }
  try {
    const common_json parsed = common_json::parse(schema);
    if (!parsed.is_object() && !parsed.is_boolean())
      throw Error{Code::bad_request, "json_schema must be a JSON object"};
    return json_schema_to_grammar(parsed, true);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error{Code::bad_request, fmt::format("json_schema: {}", error.what())};
  }
}

}  // namespace fastcache::model
