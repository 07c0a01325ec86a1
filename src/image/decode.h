// SPDX-License-Identifier: Apache-2.0
// Files of pictures -> pixels: png, jpeg, webp, and of gif and animated webp the first frame. The content
// says the format, never a name or a media type.
//
// Size and limits are looked at before a decoder sees the file and before anything is allocated. EXIF's
// orientation is applied (jpeg, webp, png's eXIf); what is transparent stands on white; palettes, grey, 16
// bits and CMYK become 8-bit RGB. Colour profiles and gamma are not applied. A file that is broken or cut off
// is refused, never shown in part.
//
// All functions may be called from any threads at once. They throw Error: bad_request (broken, cut off, over
// a limit), unsupported (another format, or a kind that no decoder here reads).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "image/picture.h"

namespace fastcache::image {

using Bytes = std::span<const uint8_t>;

enum class Format { png, jpeg, webp, gif };
const char* format_name(Format format);

struct DecodeLimits {
  size_t file_bytes = size_t{20} << 20;
  int64_t pixels = int64_t{1} << 25;  // width x height; decoding takes up to 11 bytes for each
  int side_pixels = 16384;
};

struct PictureSize {
  Format format = Format::png;
  int width = 0, height = 0;  // as stored: before EXIF's orientation
};

// Reads the header alone.
PictureSize inspect(Bytes file);

Picture decode(Bytes file, const DecodeLimits& limits = {});

}  // namespace fastcache::image
