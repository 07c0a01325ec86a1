// SPDX-License-Identifier: Apache-2.0
// Pictures inside a request: data URLs (RFC 2397) in base64. The media type is a hint that nobody follows.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace fastcache::image {

// The bytes of a base64 text (RFC 4648, section 4), blanks and line ends in it skipped, padding optional.
// Nothing where the text is none.
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);

bool is_data_url(std::string_view url);  // begins with data:, in any case of letters

// The bytes that it holds. Throws Error (bad_request): not base64, more than max_bytes (before anything is
// allocated), nothing in it.
std::vector<uint8_t> read_data_url(std::string_view url, size_t max_bytes);

}  // namespace fastcache::image
