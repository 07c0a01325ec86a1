// SPDX-License-Identifier: Apache-2.0
// A decoded picture: what every format becomes before anything else looks at it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/hash.h"

namespace fastcache::image {

struct Picture {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3], sRGB as the file has it
  bool operator==(const Picture&) const = default;
};

// Of size and pixels: the same picture in another format (without loss) has the same digest.
Hash128 pixel_digest(const Picture& picture);

}  // namespace fastcache::image
