// SPDX-License-Identifier: Apache-2.0
// Pictures as clients send them. For tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastcache::server::test_support {

std::string base64(const std::vector<uint8_t>& bytes);
std::string data_url(const std::vector<uint8_t>& file, const std::string& media_type = "image/png");

}  // namespace fastcache::server::test_support
