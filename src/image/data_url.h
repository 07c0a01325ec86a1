// SPDX-License-Identifier: Apache-2.0
// Pictures inside a request: data URLs (RFC 2397) in base64. The media type is a hint that nobody follows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::image {

// The bytes of a base64 text (RFC 4648, section 4), blanks and line ends in it skipped, padding optional.
// Nothing where the text is none.
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);

std::string encode_base64(std::span<const uint8_t> bytes);  // in one line, padded

bool is_data_url(std::string_view url);  // begins with data:, in any case of letters

// The bytes that it holds. Throws Error (bad_request): not base64, more than max_bytes (before anything is
// allocated), nothing in it.
std::vector<uint8_t> read_data_url(std::string_view url, size_t max_bytes);

// The other way round: "data:image/png;base64,..." of a picture's file, whose content says its type. Throws
// Error (unsupported) for bytes of no known format.
std::string make_data_url(std::span<const uint8_t> file);

}  // namespace fastcache::image
