// SPDX-License-Identifier: Apache-2.0
#include "image/picture.h"

#include <span>

namespace fastcache::image {

Hash128 pixel_digest(const Picture& picture) {
  const uint64_t size = (static_cast<uint64_t>(picture.width) << 32) | static_cast<uint32_t>(picture.height);
  return hash128(std::as_bytes(std::span(picture.rgb)), size);
}

}  // namespace fastcache::image
