// SPDX-License-Identifier: Apache-2.0
// Files of pictures of every kind, made with the formats' own libraries. For tests.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "image/decode.h"

namespace fastcache::image::test_support {

using File = std::vector<uint8_t>;

enum class PngColour { grey = 0, rgb = 2, palette = 3, grey_alpha = 4, rgba = 6 };

struct PngSpec {
  int width = 1, height = 1;
  PngColour colour = PngColour::rgb;
  int bits = 8;
  bool interlaced = false;
  std::vector<uint8_t> rows = {};           // packed as the format packs them: bits, 16-bit big-endian
  std::vector<uint8_t> palette = {};        // [n, 3]
  std::vector<uint8_t> palette_alpha = {};  // [n]
  File exif = {};                           // an eXIf chunk, unless empty
};
File encode_png(const PngSpec& spec);
File encode_png(const Picture& picture, bool interlaced = false);

struct JpegSpec {
  int width = 1, height = 1;
  int n_components = 3;               // 1 grey, 3 RGB, 4 CMYK
  std::vector<uint8_t> samples = {};  // [height, width, n_components]
  bool ycck = false;
  bool adobe_marker = true;  // of CMYK
  bool progressive = false;
  int quality = 100;
  File exif = {};  // an APP1 segment, unless empty; begins with "Exif\0\0"
};
File encode_jpeg(const JpegSpec& spec);
File encode_jpeg(const Picture& picture);

File encode_webp(const Picture& picture);                                        // without loss
File encode_webp_rgba(int width, int height, const std::vector<uint8_t>& rgba);  // without loss

struct GifSpec {
  int width = 1, height = 1;                                 // of the canvas
  int left = 0, top = 0, frame_width = 0, frame_height = 0;  // 0: the canvas
  bool interlaced = false;
  int transparent = -1;               // index
  std::vector<uint8_t> indices = {};  // [frame_height, frame_width]
  std::vector<uint8_t> palette = {};  // [power of two, 3]
};
File encode_gif(const GifSpec& spec);

// An EXIF block with nothing but an orientation.
File exif_with(int orientation, bool big_endian);

Picture random_picture(int width, int height, std::mt19937_64& random);
Picture random_picture(int width, int height, uint64_t seed);
std::vector<uint8_t> random_bytes(size_t n, std::mt19937_64& random);

}  // namespace fastcache::image::test_support
