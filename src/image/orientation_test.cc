// SPDX-License-Identifier: Apache-2.0
#include "image/orientation.h"

#include <gtest/gtest.h>

#include <string>

#include "image/testing/encoders.h"

namespace fastcache::image {
namespace {

using namespace test_support;

// A picture of letters, one a pixel.
Picture letters(int width, const std::string& text) {
  Picture picture{.width = width, .height = static_cast<int>(text.size()) / width, .rgb = {}};
  for (const char c : text) picture.rgb.insert(picture.rgb.end(), 3, static_cast<uint8_t>(c));
  return picture;
}

struct Turned {
  int orientation;
  int width;
  const char* text;
};

// What is stored is  a b c     The Exif standard says for each value which side of the scene the stored first
//                    d e f     row and the stored first column are.
constexpr Turned kTurned[] = {{1, 3, "abcdef"}, {2, 3, "cbafed"}, {3, 3, "fedcba"}, {4, 3, "defabc"},
                              {5, 2, "adbecf"}, {6, 2, "daebfc"}, {7, 2, "fcebda"}, {8, 2, "cfbead"}};

TEST(Orientation, TurnsAsTheStandardSays) {
  for (const Turned& turned : kTurned)
    EXPECT_EQ(upright(letters(3, "abcdef"), turned.orientation), letters(turned.width, turned.text))
        << turned.orientation;
}

TEST(Orientation, ValuesThatDoNotExistTurnNothing) {
  for (const int orientation : {-1, 0, 9, 255})
    EXPECT_EQ(upright(letters(3, "abcdef"), orientation), letters(3, "abcdef"));
}

TEST(Orientation, IsReadInBothByteOrdersWithAndWithoutTheHead) {
  for (int value = 1; value <= 8; ++value) {
    for (const bool big_endian : {false, true}) {
      const File block = exif_with(value, big_endian);
      EXPECT_EQ(exif_orientation(block), value);
      File with_head{'E', 'x', 'i', 'f', 0, 0};
      with_head.insert(with_head.end(), block.begin(), block.end());
      EXPECT_EQ(exif_orientation(with_head), value);
    }
  }
}

TEST(Orientation, BrokenBlocksAreUpright) {
  const File block = exif_with(6, true);
  for (size_t n = 0; n < 20; ++n) EXPECT_EQ(exif_orientation(Bytes(block).first(n)), 1) << n << " bytes";
  EXPECT_EQ(exif_orientation(exif_with(0, true)), 1);
  EXPECT_EQ(exif_orientation(exif_with(9, false)), 1);
  File far_away = block;
  far_away[4] = far_away[5] = far_away[6] = far_away[7] = 0xff;  // the directory
  EXPECT_EQ(exif_orientation(far_away), 1);
  File long_one = block;
  long_one[8] = long_one[9] = 0xff;  // its number of entries
  EXPECT_EQ(exif_orientation(long_one), 6);
}

TEST(Orientation, IsAppliedInEveryFormatThatHasIt) {
  const Picture stored = letters(3, "abcdef"), seen = letters(2, "daebfc");
  const File block = exif_with(6, true);
  EXPECT_EQ(decode(encode_png(PngSpec{.width = 3, .height = 2, .rows = stored.rgb, .exif = block})), seen);
  File jpeg_block{'E', 'x', 'i', 'f', 0, 0};
  jpeg_block.insert(jpeg_block.end(), block.begin(), block.end());
  const Picture jpeg =
      decode(encode_jpeg(JpegSpec{.width = 3, .height = 2, .samples = stored.rgb, .exif = jpeg_block}));
  ASSERT_EQ(jpeg.width, 2);
  for (size_t i = 0; i < jpeg.rgb.size(); ++i) EXPECT_NEAR(jpeg.rgb[i], seen.rgb[i], 2) << i;
}

}  // namespace
}  // namespace fastcache::image
