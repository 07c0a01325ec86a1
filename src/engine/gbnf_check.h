// SPDX-License-Identifier: Apache-2.0
// Refuses grammars before libllama sees them: it prints a wrong grammar to standard error, and does not
// return from some that are right (2^n paths, recursion behind a rule that may be empty). Refused too, though
// libllama could: elements that name tokens, empty classes.
#pragma once

#include <string_view>

namespace fastcache::engine {

// Throws Error (bad_request): `parameter` and what is wrong.
void check_gbnf(std::string_view text, const char* parameter);

}  // namespace fastcache::engine
