// SPDX-License-Identifier: Apache-2.0
// UTF-8 as the Unicode standard defines it: no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fastcache::model {

// The offset of the first byte that is not valid, or nothing.
std::optional<size_t> find_invalid_utf8(std::string_view text);

// Text from a file, safe to print on one line: broken characters become U+FFFD, control characters (a
// terminal obeys them) spaces.
std::string displayable(std::string_view text);

// The same for text of several lines, such as an answer: line feeds and tabs stay.
std::string displayable_lines(std::string_view text);

// Makes valid UTF-8 out of the pieces of tokens, which may end inside a character. Owner: one thread.
class Utf8Stream {
 public:
  // Adds bytes and returns what can be shown: whole characters. The start of a character is held back, at
  // most three bytes; what can never become one is replaced by U+FFFD, as browsers do.
  std::string push(std::string_view bytes);
  // The end of the text: U+FFFD if a character is unfinished, else empty. The stream is new afterwards.
  std::string flush();

 private:
  std::string held_;
};

}  // namespace fastcache::model
