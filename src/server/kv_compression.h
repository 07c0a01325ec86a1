// SPDX-License-Identifier: Apache-2.0
// The API's `kv_compression`: {"method": "knorm", "ratio": 0.8} or the string "knorm(ratio=0.8)".
#pragma once

#include <string>
#include <string_view>

#include "fastcache/request.h"
#include "server/json_field.h"

namespace fastcache::server {

// A text of press/press_string.h, such as "knorm(ratio=0.8)" or "adakv(keydiff(ratio=0.6))": its form alone.
// Throws Error (bad_request).
Compression parse_compression(std::string_view text);

// Either form; the press and its numbers are checked too. Throws ApiError (bad_request).
Compression read_compression(const JsonField& field);

}  // namespace fastcache::server
