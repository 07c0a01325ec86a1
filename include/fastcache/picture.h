// SPDX-License-Identifier: Apache-2.0
// A picture for a model that sees. Plain values.
#pragma once

#include <cstdint>
#include <vector>

namespace fastcache {

struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb = {};  // [height, width, 3], sRGB
  bool operator==(const Picture&) const = default;
};

// Stands for a picture in a list of vocabulary ids; no tokenizer makes it.
inline constexpr int32_t kPictureToken = -1;

}  // namespace fastcache
