// SPDX-License-Identifier: Apache-2.0
// A JSON schema as a grammar (libllama-common, kept behind this file). Thread-safe.
#pragma once

#include <string>

namespace fastcache::model {

inline constexpr size_t kMaxSchemaBytes = size_t{64} << 10;
inline constexpr int kMaxSchemaDepth = 64;  // of brackets: the conversion recurses

// GBNF with a rule `root`. Objects keep the order of their properties. Throws Error (bad_request): not JSON,
// too large, too deep, or something that has no grammar. Keywords without a grammar are ignored, as
// libllama-common does.
std::string grammar_of_json_schema(const std::string& schema);

}  // namespace fastcache::model
