// SPDX-License-Identifier: Apache-2.0
// EXIF's orientation: how a camera was held. Values 1 to 8 as in the Exif 2.32 standard (4.6.5, tag 274).
#pragma once

#include "image/decode.h"

namespace fastcache::image {

// tiff: the EXIF block, with or without the "Exif\0\0" in front. 1 (upright) where it says nothing or is
// broken: a picture is not refused for its metadata.
int exif_orientation(Bytes tiff);

// The picture as it is meant to be seen. Takes the memory of two pictures for 2 to 8.
Picture upright(Picture picture, int orientation);

}  // namespace fastcache::image
