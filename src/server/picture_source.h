// SPDX-License-Identifier: Apache-2.0
// A picture as a request names it.
#pragma once

#include <string>

namespace fastcache::server {

struct PictureSource {
  std::string url = {};         // data:, http(s):, file:, or a path
  std::string detail = "auto";  // auto, low, high: a hint
  std::string path = {};        // of the field, for errors
};

}  // namespace fastcache::server
