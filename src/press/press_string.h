// SPDX-License-Identifier: Apache-2.0
// Presses as users write them: knorm(ratio=0.5), adakv(keydiff(ratio=0.6)),
// composed(knorm(ratio=0.5), streaming_llm(budget=256)), per_layer(knorm, ratios=[0.1, 0.5]).
//
// A name, then in parentheses, in any order, presses and name=value, a value being a number or a list of
// numbers in brackets. Here only the form is checked; what the names and numbers mean, complete() does.
// Functions without state: any thread.
#pragma once

#include <string_view>

#include "press/params.h"

namespace fastcache::press {

constexpr int kMaxPressText = 4096;  // bytes
constexpr int kMaxPressDepth = 8;    // presses inside each other

// Throws Error (bad_request) that says at which character what is wrong; the first is character 1.
PressParams parse_press(std::string_view text);

// What a request says: the text, and what it says beside it (`beside`, whose name is not looked at). Throws
// Error (bad_request) also where the two contradict each other.
PressParams parse_press(std::string_view text, const PressParams& beside);

}  // namespace fastcache::press
