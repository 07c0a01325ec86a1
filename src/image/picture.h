// SPDX-License-Identifier: Apache-2.0
// A decoded picture: what every format becomes before anything else looks at it.
#pragma once

#include "base/hash.h"
#include "fastcache/picture.h"

namespace fastcache::image {

using fastcache::Picture;

// Of size and pixels: the same picture in another format (without loss) has the same digest.
Hash128 pixel_digest(const Picture& picture);

}  // namespace fastcache::image
