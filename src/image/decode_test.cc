// SPDX-License-Identifier: Apache-2.0
// Every kind of picture that the formats know, made by the formats' own libraries; what has to come out is
// computed here from what went in.
#include "image/decode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/test_seed.h"
#include "image/testing/encoders.h"

namespace fastcache::image {
namespace {

using namespace test_support;

constexpr std::pair<int, int> kSizes[] = {{1, 1}, {1, 9}, {9, 1}, {13, 7}, {64, 33}};

void expect_near(const Picture& picture, const Picture& right, int tolerance) {
  ASSERT_EQ(picture.width, right.width);
  ASSERT_EQ(picture.height, right.height);
  ASSERT_EQ(picture.rgb.size(), right.rgb.size());
  for (size_t i = 0; i < right.rgb.size(); ++i)
    ASSERT_NEAR(picture.rgb[i], right.rgb[i], tolerance) << "sample " << i;
}

Picture picture_of(int width, int height, std::vector<uint8_t> rgb) {
  return {.width = width, .height = height, .rgb = std::move(rgb)};
}

uint8_t over_white(double colour, double alpha) {
  return static_cast<uint8_t>(std::floor((colour * alpha + 255 * (255 - alpha)) / 255 + 0.5));
}

std::vector<uint8_t> over_white(const std::vector<uint8_t>& rgba) {
  std::vector<uint8_t> rgb;
  for (size_t i = 0; i < rgba.size(); i += 4)
    for (size_t c = 0; c < 3; ++c) rgb.push_back(over_white(rgba[i + c], rgba[i + 3]));
  return rgb;
}

TEST(Decode, WhatHasNoLossComesBackExactly) {
  std::mt19937_64 random(test_seed());
  for (const auto& [width, height] : kSizes) {
    const Picture picture = random_picture(width, height, random);
    EXPECT_EQ(decode(encode_png(picture)), picture) << width;
    EXPECT_EQ(decode(encode_png(picture, true)), picture) << width << ", interlaced";
    EXPECT_EQ(decode(encode_webp(picture)), picture) << width;
  }
}

TEST(Decode, InspectReadsTheSizeOfEachFormat) {
  std::mt19937_64 random(test_seed());
  const Picture picture = random_picture(13, 7, random);
  const File gif = encode_gif(
      {.width = 13, .height = 7, .indices = std::vector<uint8_t>(91), .palette = {1, 2, 3, 4, 5, 6}});
  const std::pair<Format, File> files[] = {{Format::png, encode_png(picture)},
                                           {Format::jpeg, encode_jpeg(picture)},
                                           {Format::webp, encode_webp(picture)},
                                           {Format::gif, gif}};
  for (const auto& [format, file] : files) {
    const PictureSize size = inspect(file);
    EXPECT_EQ(size.format, format);
    EXPECT_EQ(size.width, 13) << format_name(format);
    EXPECT_EQ(size.height, 7) << format_name(format);
  }
}

TEST(DecodePng, AlphaStandsOnWhite) {
  std::mt19937_64 random(test_seed());
  const std::vector<uint8_t> rgba = random_bytes(4 * 13 * 7, random);
  for (const bool interlaced : {false, true}) {
    const File file = encode_png(
        PngSpec{.width = 13, .height = 7, .colour = PngColour::rgba, .interlaced = interlaced, .rows = rgba});
    EXPECT_EQ(decode(file), picture_of(13, 7, over_white(rgba)));
  }
}

TEST(DecodePng, SixteenBitsAreRounded) {
  std::mt19937_64 random(test_seed());
  const std::vector<uint8_t> rows = random_bytes(6 * 5 * 4, random);  // big-endian
  std::vector<uint8_t> rgb;
  for (size_t i = 0; i < rows.size(); i += 2)
    rgb.push_back(static_cast<uint8_t>(std::lround((256.0 * rows[i] + rows[i + 1]) * 255 / 65535)));
  EXPECT_EQ(decode(encode_png(PngSpec{.width = 5, .height = 4, .bits = 16, .rows = rows})),
            picture_of(5, 4, rgb));
}

TEST(DecodePng, GreyOfEveryDepth) {
  std::mt19937_64 random(test_seed());
  for (const int bits : {1, 2, 4, 8}) {
    const size_t row_bytes = static_cast<size_t>((9 * bits + 7) / 8);
    const std::vector<uint8_t> rows = random_bytes(row_bytes * 3, random);
    std::vector<uint8_t> rgb;
    for (size_t y = 0; y < 3; ++y) {
      for (size_t x = 0; x < 9; ++x) {
        const size_t bit = x * static_cast<size_t>(bits);
        const int packed = rows[y * row_bytes + bit / 8] >> (8 - bits - static_cast<int>(bit % 8));
        const int most = (1 << bits) - 1;
        rgb.insert(rgb.end(), 3, static_cast<uint8_t>((packed & most) * 255 / most));
      }
    }
    const PngSpec spec{.width = 9, .height = 3, .colour = PngColour::grey, .bits = bits, .rows = rows};
    EXPECT_EQ(decode(encode_png(spec)), picture_of(9, 3, rgb)) << bits << " bits";
  }
}

TEST(DecodePng, PaletteWithTransparentColours) {
  const std::vector<uint8_t> palette{10, 20, 30, 200, 100, 0, 7, 8, 9, 255, 0, 255};
  const std::vector<uint8_t> alpha{255, 0, 128};  // the last colour has none: it is opaque
  const PngSpec spec{.width = 4,
                     .height = 1,
                     .colour = PngColour::palette,
                     .rows = {0, 1, 2, 3},
                     .palette = palette,
                     .palette_alpha = alpha};
  EXPECT_EQ(decode(encode_png(spec)), picture_of(4, 1,
                                                 {10, 20, 30, 255, 255, 255, over_white(7, 128),
                                                  over_white(8, 128), over_white(9, 128), 255, 0, 255}));
}

TEST(DecodePng, GreyWithAlpha) {
  const PngSpec spec{.width = 2, .height = 1, .colour = PngColour::grey_alpha, .rows = {100, 64, 0, 0}};
  const uint8_t grey = over_white(100, 64);
  EXPECT_EQ(decode(encode_png(spec)), picture_of(2, 1, {grey, grey, grey, 255, 255, 255}));
}

TEST(DecodeWebp, AlphaStandsOnWhite) {
  std::mt19937_64 random(test_seed());
  const std::vector<uint8_t> rgba = random_bytes(4 * 13 * 7, random);
  EXPECT_EQ(decode(encode_webp_rgba(13, 7, rgba)), picture_of(13, 7, over_white(rgba)));
}

// A ramp: what jpeg keeps nearly all of.
std::vector<uint8_t> ramp(int width, int height, int n_components) {
  std::vector<uint8_t> samples;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < n_components; ++c) samples.push_back(static_cast<uint8_t>(40 * c + 4 * x + 3 * y));
  return samples;
}

TEST(DecodeJpeg, ColourAndGreyBaselineAndProgressive) {
  for (const bool progressive : {false, true}) {
    const std::vector<uint8_t> rgb = ramp(21, 18, 3);
    const File file =
        encode_jpeg(JpegSpec{.width = 21, .height = 18, .samples = rgb, .progressive = progressive});
    expect_near(decode(file), picture_of(21, 18, rgb), 3);

    const std::vector<uint8_t> grey = ramp(21, 18, 1);
    std::vector<uint8_t> as_rgb;
    for (const uint8_t value : grey) as_rgb.insert(as_rgb.end(), 3, value);
    const File grey_file = encode_jpeg(
        JpegSpec{.width = 21, .height = 18, .n_components = 1, .samples = grey, .progressive = progressive});
    expect_near(decode(grey_file), picture_of(21, 18, as_rgb), 2);
  }
}

TEST(DecodeJpeg, InksAreTurnedRoundAsTheMarkerSays) {
  const std::vector<uint8_t> cmyk = ramp(16, 16, 4);
  for (const bool adobe : {true, false}) {
    for (const bool ycck : {false, true}) {
      if (ycck && !adobe) continue;  // without the marker nothing says that it is YCCK
      std::vector<uint8_t> rgb;
      for (size_t i = 0; i < cmyk.size(); i += 4) {
        for (size_t c = 0; c < 3; ++c) {
          const int light = adobe ? cmyk[i + c] : 255 - cmyk[i + c];
          const int black = adobe ? cmyk[i + 3] : 255 - cmyk[i + 3];
          rgb.push_back(static_cast<uint8_t>(std::lround(light * black / 255.0)));
        }
      }
      const JpegSpec spec{
          .width = 16, .height = 16, .n_components = 4, .samples = cmyk, .ycck = ycck, .adobe_marker = adobe};
      expect_near(decode(encode_jpeg(spec)), picture_of(16, 16, rgb), 4);
    }
  }
}

const std::vector<uint8_t> kFourColours{10, 20, 30, 200, 100, 0, 7, 8, 9, 255, 0, 255};

TEST(DecodeGif, InterlacedOrNot) {
  std::mt19937_64 random(test_seed());
  for (const auto& [width, height] : kSizes) {
    std::vector<uint8_t> indices = random_bytes(static_cast<size_t>(width * height), random);
    std::vector<uint8_t> rgb;
    for (uint8_t& index : indices) {
      index &= 3;
      rgb.insert(rgb.end(), kFourColours.begin() + 3 * index, kFourColours.begin() + 3 * index + 3);
    }
    for (const bool interlaced : {false, true}) {
      const File file = encode_gif({.width = width,
                                    .height = height,
                                    .interlaced = interlaced,
                                    .indices = indices,
                                    .palette = kFourColours});
      EXPECT_EQ(decode(file), picture_of(width, height, rgb)) << width << " x " << height << interlaced;
    }
  }
}

TEST(DecodeGif, WhatTheFirstFrameLeavesFreeIsWhite) {
  // a frame of 2 x 2 whose first pixel is transparent, in the lower right corner of 3 x 2 and sticking out
  const File file = encode_gif({.width = 3,
                                .height = 2,
                                .left = 2,
                                .top = 1,
                                .frame_width = 2,
                                .frame_height = 2,
                                .transparent = 1,
                                .indices = {0, 3, 1, 0},
                                .palette = kFourColours});
  std::vector<uint8_t> rgb(18, 255);
  std::copy_n(kFourColours.begin(), 3, rgb.begin() + 15);
  EXPECT_EQ(decode(file), picture_of(3, 2, rgb));
  const File see_through =
      encode_gif({.width = 1, .height = 1, .transparent = 1, .indices = {1}, .palette = kFourColours});
  EXPECT_EQ(decode(see_through), picture_of(1, 1, {255, 255, 255}));
}

}  // namespace
}  // namespace fastcache::image
