// SPDX-License-Identifier: Apache-2.0
#include "image/orientation.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "image/byte_order.h"

namespace fastcache::image {
namespace {

constexpr uint32_t kOrientationTag = 274;
constexpr uint32_t kShort = 3;  // type of an entry: 16 bits

bool begins_with(Bytes bytes, std::string_view text) {
  return bytes.size() >= text.size() && std::equal(text.begin(), text.end(), bytes.begin());
}

// Where the pixel of the upright picture comes from: (x, y) or (y, x), each perhaps from the far end.
struct Turn {
  bool transposed, from_right, from_bottom;
};
constexpr std::array<Turn, 8> kTurns{{
    {false, false, false},
    {false, true, false},
    {false, true, true},
    {false, false, true},
    {true, false, false},
    {true, false, true},
    {true, true, true},
    {true, true, false},
}};

}  // namespace

int exif_orientation(Bytes tiff) {
  constexpr std::string_view kExif{"Exif\0\0", 6};
  if (begins_with(tiff, kExif)) tiff = tiff.subspan(kExif.size());
  const bool is_big = begins_with(tiff, std::string_view{"MM\0*", 4});
  if (!is_big && !begins_with(tiff, std::string_view{"II*\0", 4})) return 1;
  const auto read = [&](size_t at, size_t n_bytes) -> uint32_t {
    if (at + n_bytes > tiff.size()) return 0;
    return is_big ? big_endian(tiff, at, n_bytes) : little_endian(tiff, at, n_bytes);
  };
  const size_t directory = read(4, 4);
  const size_t n_entries = read(directory, 2);
  for (size_t i = 0; i < n_entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > tiff.size()) break;
    if (read(entry, 2) != kOrientationTag) continue;
    const uint32_t value = read(entry + 8, 2);
    const bool is_known = read(entry + 2, 2) == kShort && value >= 1 && value <= 8;
    return is_known ? static_cast<int>(value) : 1;
  }
  return 1;
}

Picture upright(Picture picture, int orientation) {
  if (orientation <= 1 || orientation > 8) return picture;
  const Turn turn = kTurns[static_cast<size_t>(orientation - 1)];
  const auto width = static_cast<size_t>(picture.width), height = static_cast<size_t>(picture.height);
  Picture turned{.width = turn.transposed ? picture.height : picture.width,
                 .height = turn.transposed ? picture.width : picture.height,
                 .rgb = std::vector<uint8_t>(picture.rgb.size())};
  auto out = turned.rgb.begin();
  for (size_t y = 0; y < static_cast<size_t>(turned.height); ++y) {
    for (size_t x = 0; x < static_cast<size_t>(turned.width); ++x) {
      size_t column = turn.transposed ? y : x, row = turn.transposed ? x : y;
      if (turn.from_right) column = width - 1 - column;
      if (turn.from_bottom) row = height - 1 - row;
      out = std::copy_n(picture.rgb.begin() + static_cast<ptrdiff_t>(3 * (row * width + column)), 3, out);
    }
  }
  return turned;
}

}  // namespace fastcache::image
