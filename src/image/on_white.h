// SPDX-License-Identifier: Apache-2.0
// Transparency: what shows through is white.
#pragma once

#include <cstdint>
#include <span>

namespace fastcache::image {

inline uint8_t on_white(uint8_t colour, uint8_t alpha) {
  return static_cast<uint8_t>((colour * alpha + 255 * (255 - alpha) + 127) / 255);
}

// rgba: [n, 4], rgb: [n, 3].
inline void put_on_white(std::span<const uint8_t> rgba, std::span<uint8_t> rgb) {
  for (size_t i = 0; i < rgba.size() / 4; ++i)
    for (size_t c = 0; c < 3; ++c) rgb[3 * i + c] = on_white(rgba[4 * i + c], rgba[4 * i + 3]);
}

}  // namespace fastcache::image
