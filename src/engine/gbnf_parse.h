// SPDX-License-Identifier: Apache-2.0
// The outline of a GBNF grammar: which rule refers to which, and how large libllama would make it. Of the
// characters only that there are some is kept.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::engine {

struct GbnfItem {
  int rule = -1;          // index of the rule it refers to; -1: characters
  bool optional = false;  // may be left out: x?, x*, x{0,3}
  int repetitions = 1;    // copies that libllama writes out
};
using GbnfSequence = std::vector<GbnfItem>;

struct GbnfRule {
  std::string name;                      // empty: made from parentheses
  std::vector<GbnfSequence> alternates;  // none: used, but not defined
};

struct GbnfOutline {
  std::vector<GbnfRule> rules;
  std::map<std::string, int, std::less<>> by_name;
};

inline constexpr size_t kMaxGbnfBytes = size_t{256} << 10;
inline constexpr int kMaxGbnfDepth = 100;          // of parentheses
inline constexpr long kMaxGbnfElements = 100'000;  // of libllama's tables, repetitions written out
inline constexpr long kMaxGbnfRepetitions = 2000;  // as libllama has it; a larger maximum is none

// Throws Error (bad_request): `parameter`, line, column, what was expected.
GbnfOutline parse_gbnf(std::string_view text, const char* parameter);

}  // namespace fastcache::engine
