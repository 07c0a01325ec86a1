// SPDX-License-Identifier: Apache-2.0
// Refuses grammars before libllama sees them: it prints a wrong grammar to standard error, and does not
// return from some that are right (2^n paths, recursion behind a rule that may be empty). Refused too, though
// libllama could: elements that name tokens, empty classes.
//
// Not found here: grammars that can be read in ever more ways while text comes (root ::= "a" root "b" |
// "a" root "c" | "a"). libllama keeps one stack for each way; Grammar gives up after a slow token, but one
// token of many characters can already be very slow. Whoever serves strangers should take JSON schemas only.
#pragma once

#include <string_view>

namespace fastcache::engine {

// Throws Error (bad_request): `parameter` and what is wrong.
void check_gbnf(std::string_view text, const char* parameter);

}  // namespace fastcache::engine
