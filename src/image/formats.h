// SPDX-License-Identifier: Apache-2.0
// The decoders, one file each: for decode.cc. size_of_* read the header by hand; decode_* may rely on size
// and limits having been checked, and refuse a file whose decoder finds another size.
#pragma once

#include <string_view>

#include "image/decode.h"

namespace fastcache::image {

PictureSize size_of_png(Bytes file);
PictureSize size_of_jpeg(Bytes file);
PictureSize size_of_webp(Bytes file);
PictureSize size_of_gif(Bytes file);

// Upright, [height, width, 3].
Picture decode_png(Bytes file, const PictureSize& size);
Picture decode_jpeg(Bytes file, const PictureSize& size);
Picture decode_webp(Bytes file, const PictureSize& size);
// limits: a frame may be larger than the picture that it is cut to.
Picture decode_gif(Bytes file, const PictureSize& size, const DecodeLimits& limits);

// Whole rows of zeros.
Picture blank(const PictureSize& size, uint8_t value = 0);

// "the jpeg picture is broken or cut off (why); send the whole file". why: of a decoder; only what is
// printable of it is shown.
[[noreturn]] void refuse_broken(Format format, std::string_view why);

}  // namespace fastcache::image
