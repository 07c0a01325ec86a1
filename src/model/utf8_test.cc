// SPDX-License-Identifier: Apache-2.0
#include "model/utf8.h"

#include <gtest/gtest.h>

namespace fastcache::model {
namespace {

TEST(Utf8, FindsTheFirstWrongByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8(std::string_view("a\0b", 3)), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("ab\x80"), 2u);            // a continuation without a beginning
  EXPECT_EQ(find_invalid_utf8("\xC0\xAF"), 0u);          // overlong
  EXPECT_EQ(find_invalid_utf8("\xE0\x80\xAF"), 0u);      // overlong
  EXPECT_EQ(find_invalid_utf8("\xED\xA0\x80"), 0u);      // surrogate
  EXPECT_EQ(find_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
  EXPECT_EQ(find_invalid_utf8("x\xE2\x82"), 1u);         // cut off
}

TEST(Utf8, DisplayableTextCommandsNoTerminal) {
  EXPECT_EQ(displayable("a\x1b[2Jb\nc\xFF\xC3\xA9"), "a [2Jb c\xEF\xBF\xBD\xC3\xA9");
  EXPECT_EQ(displayable("a\xC2\x9B"
                        "2J\xC2\xA0\x7F"),
            "a 2J\xC2\xA0 ");  // U+009B is an escape sequence's start
  EXPECT_EQ(displayable_lines("a\x1b\tb\r\nc"), "a \tb \nc");
}

TEST(Utf8, StreamHoldsBackTheStartOfACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xF0"), "a");
  EXPECT_EQ(stream.push("\x9F\x98"), "");
  EXPECT_EQ(stream.push("\x80!"), "\xF0\x9F\x98\x80!");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Utf8, StreamReplacesWhatCannotBecomeACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("\xF0\x9F"
                        "x"),
            "\xEF\xBF\xBDx");
  EXPECT_EQ(stream.push("\xFF\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  EXPECT_EQ(stream.flush(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(Utf8, AnyBytesComeOutValidWhereverTheyAreCut) {
  uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) {
      state = state * 1664525u + 1013904223u;
      bytes += static_cast<char>((state >> 24) | ((state >> 10) & 0x80));
    }
    Utf8Stream whole, cut;
    std::string expected = whole.push(bytes);
    expected += whole.flush();
    std::string got;
    for (const char c : bytes) got += cut.push(std::string_view(&c, 1));
    got += cut.flush();
    EXPECT_EQ(find_invalid_utf8(got), std::nullopt);
    EXPECT_EQ(got, expected);
  }
}

}  // namespace
}  // namespace fastcache::model
