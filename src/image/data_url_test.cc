// SPDX-License-Identifier: Apache-2.0
#include "image/data_url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "base/error.h"
#include "base/test_seed.h"

namespace fastcache::image {
namespace {

using ::testing::HasSubstr;

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

std::string refusal(const std::string& url, size_t max_bytes = 1000) {
  try {
    read_data_url(url, max_bytes);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    return error.what();
  }
  return "it was taken";
}

// The other way round, in plain steps.
std::string encoded(const std::vector<uint8_t>& bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group * 256 + (k < n ? bytes[i + k] : 0u);
    for (size_t k = 0; k < 4; ++k) text += k <= n ? kDigits[(group >> (18 - 6 * k)) % 64] : '=';
  }
  return text;
}

TEST(Base64, VectorsOfTheStandard) {  // RFC 4648, section 10
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"Zg==", "f"},
                                                         {"Zm8=", "fo"},
                                                         {"Zm9v", "foo"},
                                                         {"Zm9vYg==", "foob"},
                                                         {"Zm9vYmE=", "fooba"},
                                                         {"Zm9vYmFy", "foobar"}};
  for (const auto& [text, bytes] : vectors) EXPECT_EQ(decode_base64(text), bytes_of(bytes)) << text;
}

TEST(Base64, AnyBytesComeBackWithBlanksAndWithoutPaddingToo) {
  std::mt19937_64 random(test_seed());
  for (size_t n = 0; n < 100; ++n) {
    std::vector<uint8_t> bytes(n);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    std::string text = encoded(bytes);
    EXPECT_EQ(decode_base64(text), bytes);
    EXPECT_EQ(decode_base64(text.substr(0, text.find('='))), bytes);
    for (int i = 0; i < 5; ++i) text.insert(random() % (text.size() + 1), 1, "\n \r\t"[random() % 4]);
    EXPECT_EQ(decode_base64(text), bytes);
  }
}

TEST(Base64, WhatIsNone) {
  for (const char* text : {"A", "AAAAA", "A===", "AA=A", "=",
                           "====", "AA=", "AA===", "AAA==", "AAAA=", "A-A_", "Zm9v\x01", "Zm9v\xff"})
    EXPECT_EQ(decode_base64(text), std::nullopt) << text;
}

TEST(DataUrl, MediaTypeIsAHint) {
  for (const char* head : {"data:image/png;base64,", "data:;base64,", "DATA:text/plain;charset=utf-8;BASE64,",
                           "data:nonsense;base64,"})
    EXPECT_EQ(read_data_url(std::string(head) + "Zm9v", 3), bytes_of("foo")) << head;
  EXPECT_TRUE(is_data_url("DaTa:,"));
  EXPECT_FALSE(is_data_url("data"));
  EXPECT_FALSE(is_data_url("http://data:80/"));
}

TEST(DataUrl, Refusals) {
  EXPECT_THAT(refusal("data:image/png;base64"), HasSubstr("no comma"));
  EXPECT_THAT(refusal("data:image/png,abc"), HasSubstr("not in base64"));
  EXPECT_THAT(refusal("data:base64,abc"), HasSubstr("not in base64"));
  EXPECT_THAT(refusal("data:image/png;base64,"), HasSubstr("is empty"));
  EXPECT_THAT(refusal("data:image/png;base64,Zm9%76"), HasSubstr("are not base64"));
  EXPECT_THAT(refusal("data:;base64,Zm9vZm9v", 5), HasSubstr("holds 6 bytes; it may hold at most 5"));
  EXPECT_NO_THROW(read_data_url("data:;base64,Zm9vZm9v", 6));
  EXPECT_NO_THROW(read_data_url("data:;base64,Zm9vZg==", 4));
}

TEST(DataUrl, EncodedBase64IsDecodedAgain) {
  EXPECT_EQ(encode_base64({}), "");
  EXPECT_EQ(encode_base64(bytes_of("f")), "Zg==");
  EXPECT_EQ(encode_base64(bytes_of("fo")), "Zm8=");
  EXPECT_EQ(encode_base64(bytes_of("foobar")), "Zm9vYmFy");  // RFC 4648, section 10
  std::mt19937_64 random(test_seed());
  for (int n = 0; n < 100; ++n) {
    std::vector<uint8_t> bytes(static_cast<size_t>(n));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes);
  }
}

TEST(DataUrl, MadeOfAPicturesFile) {
  const std::vector<uint8_t> file = bytes_of(std::string("GIF89a\x01\0\x01\0\0\0\0;", 14));
  const std::string url = make_data_url(file);
  EXPECT_TRUE(url.starts_with("data:image/gif;base64,")) << url;
  EXPECT_EQ(read_data_url(url, 1000), file);
  EXPECT_THROW(make_data_url(bytes_of("no picture at all")), Error);
}

}  // namespace
}  // namespace fastcache::image
