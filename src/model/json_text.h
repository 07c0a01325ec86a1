// SPDX-License-Identifier: Apache-2.0
// What JSON from outside may look like before a parser sees it: libllama-common's recurses, and looks through
// all keys of an object for each new one. Thread-safe.
#pragma once

#include <string_view>

namespace fastcache::model {

inline constexpr int kMaxJsonDepth = 100;     // of brackets
inline constexpr int kMaxJsonMembers = 1000;  // of one object

struct JsonShape {
  int depth = 0;         // of brackets outside of strings
  int most_members = 0;  // of any object; counted only down to kMaxJsonDepth
};
// Right for what is JSON; anything for what is not.
JsonShape json_shape(std::string_view json);

// Throws Error (bad_request) that begins with `name`: not UTF-8, too deep, too many members.
void check_json_shape(std::string_view json, std::string_view name);

}  // namespace fastcache::model
