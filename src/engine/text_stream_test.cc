// SPDX-License-Identifier: Apache-2.0
#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "model/testing/tiny_model.h"
#include "model/utf8.h"

namespace fastcache::engine {
namespace {

using Strings = std::vector<std::string>;

std::shared_ptr<const StopStrings> make(const Strings& strings) {
  return std::make_shared<const StopStrings>(strings);
}

struct Expected {
  std::string text;
  std::string stop;  // empty: none
};

// Sees the whole text: the smallest end, then the longest string.
Expected reference(const std::string& text, const Strings& stops, size_t from = 0) {
  for (size_t end = from + 1; end <= text.size(); ++end) {
    Expected best;
    for (const std::string& stop : stops) {
      const bool fits = stop.size() <= end - from && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (fits && stop.size() > best.stop.size()) best = {text.substr(0, end - stop.size()), stop};
    }
    if (!best.stop.empty()) return best;
  }
  return {text, ""};
}

// The bytes that a correct filter holds after this text without a stop: the longest suffix that begins one.
size_t held_bytes(const std::string& text, const Strings& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t n = 1; n <= std::min(stop.size(), text.size()); ++n) {
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) held = std::max(held, n);
    }
  }
  return held;
}

// Few different characters, so that stop strings overlap each other and themselves.
std::string random_text(std::mt19937_64& random, int n) {
  static const Strings kCharacters{"a", "b", "\xC3\xA4", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
  const size_t alphabet = 1 + random() % kCharacters.size();
  std::string text;
  for (int i = 0; i < n; ++i) text += kCharacters[random() % alphabet];
  return text;
}

TEST(StopStrings, AnyCutsGiveWhatTheWholeTextGives) {
  std::mt19937_64 random(test_seed());
  int n_stopped = 0;
  for (int round = 0; round < 3000; ++round) {
    Strings stops(1 + random() % 4);
    for (std::string& stop : stops) stop = random_text(random, 1 + static_cast<int>(random() % 6));
    const std::string text = random_text(random, static_cast<int>(random() % 60));
    const Expected expected = reference(text, stops);
    StopFilter filter(make(stops));
    std::string shown;
    for (size_t at = 0; at < text.size() && !filter.stopped();) {
      size_t end = at + 1 + random() % 8;
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
      end = std::min(end, text.size());
      shown += filter.push(text.substr(at, end - at));
      ASSERT_TRUE(expected.text.starts_with(shown)) << round << ": " << shown;
      ASSERT_FALSE(model::find_invalid_utf8(shown)) << round;
      at = end;
      if (!filter.stopped()) {  // no more is held back than must be
        ASSERT_EQ(shown.size() + held_bytes(text.substr(0, at), stops), at) << round;
      }
    }
    if (expected.stop.empty()) {
      EXPECT_EQ(shown + filter.flush(), text);
    } else {
      ++n_stopped;
      EXPECT_EQ(shown, expected.text);
      ASSERT_NE(filter.stop_string(), nullptr);
      EXPECT_EQ(*filter.stop_string(), expected.stop);
      EXPECT_EQ(filter.push("more"), "");
      EXPECT_EQ(filter.flush(), "");
    }
  }
  EXPECT_GT(n_stopped, 500);
  EXPECT_LT(n_stopped, 2900);
}

// 10 KB of 'a', and text that comes within one byte of it again and again: quadratic would be 10^10 steps.
// Seconds for a million a's and the x that releases what was held, with stop strings that nearly match
// everywhere. The best of three, in one push: what is compared is the search, not the copying of what is
// held.
double seconds_of_near_matches(size_t stop_bytes) {
  const std::string almost(stop_bytes, 'a');
  const auto stops = make({almost + "b", "c" + almost, almost.substr(1) + "d"});
  const std::string text(1'000'000, 'a');
  double best = 1e9;
  for (int round = 0; round < 3; ++round) {
    StopFilter filter(stops);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(filter.push(text).size(), text.size() - stop_bytes);
    EXPECT_EQ(filter.push("x").size(), stop_bytes + 1);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// A search that compares anew at each byte takes a thousand times as long for the long ones.
TEST(StopStrings, NastyStringsTakeLinearTime) {
  EXPECT_LT(seconds_of_near_matches(10'000), 20 * seconds_of_near_matches(10));
}

TEST(StopStrings, WrongOnesAreRefused) {
  const Strings many(kMaxStopStrings + 1, "a");
  for (const Strings& strings : {Strings{"a", ""}, many, Strings{std::string(kMaxStopBytes + 1, 'a')},
                                 Strings{"\xC3"}, Strings{"a\x80"}}) {
    try {
      make(strings);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
    }
  }
  EXPECT_TRUE(make({})->empty());
}

// Tokens that are bytes cut characters and stop strings anywhere.
class TextStreamTest : public testing::Test {
 protected:
  TextStreamTest() {
    model::test_support::write_tiny_model(folder_.file("m.gguf"), {});
    file_.emplace(folder_.file("m.gguf"));
    vocab_.emplace(*file_);
  }
  static model::Token byte_token(char c) { return 3 + static_cast<unsigned char>(c); }

  model::test_support::TemporaryFolder folder_;
  std::optional<model::GgufFile> file_;
  std::optional<model::Vocab> vocab_;
};

TEST_F(TextStreamTest, BytesOfBrokenTextToo) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 500; ++round) {
    std::string bytes = random_text(random, 30);
    if (round % 2 == 1) {
      for (int i = 0; i < 3; ++i)
        bytes.insert(random() % bytes.size(), 1, static_cast<char>(0x80 + random() % 128));
    }
    model::Utf8Stream whole;
    std::string text = whole.push(bytes);
    text += whole.flush();
    const Strings stops{random_text(random, 3), "\xEF\xBF\xBD" + random_text(random, 1), "b\xE2\x82\xAC"};
    const Expected expected = reference(text, stops);
    TextStream stream(*vocab_, make(stops));
    std::string shown;
    for (const char c : bytes) {
      const std::string piece = stream.push(byte_token(c));
      ASSERT_FALSE(model::find_invalid_utf8(piece));
      shown += piece;
    }
    shown += stream.flush();
    ASSERT_EQ(shown, expected.text) << round;
    ASSERT_EQ(stream.stopped(), !expected.stop.empty()) << round;
  }
}

TEST_F(TextStreamTest, MinTokensPassStopStringsBy) {
  const Strings stops{"ab"};
  for (int min_tokens = 0; min_tokens <= 8; ++min_tokens) {
    const std::string text = "xabxabab";
    const Expected expected = reference(text, stops, static_cast<size_t>(min_tokens));
    TextStream stream(*vocab_, make(stops), min_tokens);
    std::string shown;
    for (const char c : text) shown += stream.push(byte_token(c));
    EXPECT_EQ(shown + stream.flush(), expected.text) << min_tokens;
  }
}

TEST_F(TextStreamTest, ControlTokensHaveNoTextAndNoTokenIsRefused) {
  TextStream stream(*vocab_, make({"a"}));
  EXPECT_EQ(stream.push(*vocab_->eos()), "");
  EXPECT_THROW(stream.push(1 << 20), Error);
}

}  // namespace
}  // namespace fastcache::engine
