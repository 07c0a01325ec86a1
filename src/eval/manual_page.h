// SPDX-License-Identifier: Apache-2.0
// The words of a manual page, without the typesetting. Thread-safe: no state.
#pragma once

#include <string>
#include <string_view>

namespace fastcache::eval {

// roff source in, plain text out: requests that carry words (titles, headings, bold, italic) leave these, all
// others vanish with their line; escapes become the characters that they stand for, or nothing. Any bytes may
// come in; what is not understood is left out.
std::string plain_manual(std::string_view roff);

}  // namespace fastcache::eval
