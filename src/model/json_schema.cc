// SPDX-License-Identifier: Apache-2.0
#include "model/json_schema.h"

#include <json-schema-to-grammar.h>  // of llama-common
#include <spdlog/fmt/fmt.h>

#include <exception>

#include "base/error.h"
#include "model/json_text.h"

namespace fastcache::model {

std::string grammar_of_json_schema(const std::string& schema) {
  if (schema.size() > kMaxSchemaBytes) {
    throw Error{Code::bad_request, fmt::format("json_schema has {} bytes; it may have at most {}",
                                               schema.size(), kMaxSchemaBytes)};
  }
  if (const int depth = json_shape(schema).depth; depth > kMaxSchemaDepth) {
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
