// SPDX-License-Identifier: Apache-2.0
#include "model/json_text.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "model/utf8.h"

namespace fastcache::model {

JsonShape json_shape(std::string_view json) {
  JsonShape shape;
  std::array<int, kMaxJsonDepth + 1> members{};  // by depth
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      shape.depth = std::max(shape.depth, ++depth);
      if (depth <= kMaxJsonDepth) members[static_cast<size_t>(depth)] = 0;
    } else if (c == '}' || c == ']') {
      depth = std::max(0, depth - 1);
    } else if (c == ':' && depth <= kMaxJsonDepth) {  // one for each member of an object
      shape.most_members = std::max(shape.most_members, ++members[static_cast<size_t>(depth)]);
    }
  }
  return shape;
}

void check_json_shape(std::string_view json, std::string_view name) {
  if (const auto offset = find_invalid_utf8(json))
    throw Error{Code::bad_request, fmt::format("{} is not valid UTF-8 at byte {}", name, *offset)};
  const JsonShape shape = json_shape(json);
  if (shape.depth > kMaxJsonDepth) {
    throw Error{Code::bad_request, fmt::format("{} is nested {} deep; at most {} are possible", name,
                                               shape.depth, kMaxJsonDepth)};
  }
  if (shape.most_members > kMaxJsonMembers) {
    throw Error{Code::bad_request, fmt::format("{} has an object with {} members; at most {} are possible",
                                               name, shape.most_members, kMaxJsonMembers)};
  }
}

}  // namespace fastcache::model
