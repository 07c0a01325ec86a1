// SPDX-License-Identifier: Apache-2.0
// JSON written by appending: what goes out for every token must not pass through a tree.
#pragma once

#include <string>
#include <string_view>

namespace fastcache::server {

// With its quotes. The text must be UTF-8.
void append_json_string(std::string& out, std::string_view text);
std::string json_string(std::string_view text);

// JSON has no infinity: what is not finite becomes -9999, as OpenAI writes the logarithm of nothing.
void append_json_number(std::string& out, float number);

}  // namespace fastcache::server
