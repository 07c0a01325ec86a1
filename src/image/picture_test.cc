// SPDX-License-Identifier: Apache-2.0
#include "image/picture.h"

#include <gtest/gtest.h>

namespace fastcache::image {
namespace {

TEST(PixelDigest, IsOfSizeAndPixels) {
  const Picture wide{.width = 4, .height = 1, .rgb = std::vector<uint8_t>(12, 7)};
  const Picture tall{.width = 1, .height = 4, .rgb = wide.rgb};
  Picture other = wide;
  other.rgb[11] ^= 1;
  EXPECT_EQ(pixel_digest(wide), pixel_digest(Picture(wide)));
  EXPECT_NE(pixel_digest(wide), pixel_digest(tall));
  EXPECT_NE(pixel_digest(wide), pixel_digest(other));
}

}  // namespace
}  // namespace fastcache::image
