// SPDX-License-Identifier: Apache-2.0
// Files that are no pictures, or are too much: one Error each, nothing on standard error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <string>

#include "base/error.h"
#include "base/test_seed.h"
#include "image/decode.h"
#include "image/testing/encoders.h"

namespace fastcache::image {
namespace {

using namespace test_support;
using ::testing::HasSubstr;

std::string refusal(Bytes file, const DecodeLimits& limits = {}, Code code = Code::bad_request) {
  try {
    decode(file, limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "it was taken";
}

Bytes bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

File whole_gif(int width, int height) {
  return encode_gif({.width = width,
                     .height = height,
                     .indices = std::vector<uint8_t>(static_cast<size_t>(width * height), 2),
                     .palette = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}});
}

std::vector<File> one_of_each(std::mt19937_64& random) {
  const Picture picture = random_picture(11, 10, random);
  JpegSpec progressive{.width = 11, .height = 10, .samples = picture.rgb, .progressive = true};
  return {encode_png(picture),  encode_png(picture, true),
          encode_jpeg(picture), encode_jpeg(progressive),
          encode_webp(picture), encode_webp_rgba(11, 10, random_bytes(440, random)),
          whole_gif(11, 10)};
}

// Standard error stays empty while it lives.
class Quiet {
 public:
  Quiet() { ::testing::internal::CaptureStderr(); }
  ~Quiet() { EXPECT_EQ(::testing::internal::GetCapturedStderr(), ""); }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
};

TEST(DecodeBroken, WhatIsNoPictureIsCalledByItsName) {
  const auto refused = [](std::string_view text) { return refusal(bytes_of(text), {}, Code::unsupported); };
  EXPECT_THAT(refusal({}), HasSubstr("the picture is empty"));
  EXPECT_THAT(refused("BM6 and so on"), HasSubstr("is bmp; it must be a png, jpeg, webp or gif"));
  EXPECT_THAT(refused("<!DOCTYPE html><html>"), HasSubstr("html"));
  EXPECT_THAT(refused("<svg xmlns="), HasSubstr("svg"));
  EXPECT_THAT(refused({"\0\0\0\x1c"
                       "ftypavif",
                       12}),
              HasSubstr("avif"));
  EXPECT_THAT(refused("{\"error\": 1}"), HasSubstr("json"));
  EXPECT_THAT(refused("hello"), HasSubstr("begins with the bytes 68 65 6c 6c 6f;"));
  EXPECT_THAT(refused("\x89PNG"), HasSubstr("begins with the bytes 89 50 4e 47;"));
}

TEST(DecodeBroken, CutOffAnywhereIsRefused) {
  std::mt19937_64 random(test_seed());
  const Quiet quiet;
  for (const File& file : one_of_each(random)) {
    const Format format = inspect(file).format;
    const Picture whole = decode(file);
    for (size_t n = 0; n < file.size(); ++n) {
      try {
        // A gif's first frame may be whole before the file is.
        EXPECT_EQ(decode(Bytes(file).first(n)), whole);
        EXPECT_EQ(format, Format::gif) << n << " of " << file.size() << " bytes of a " << format_name(format);
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == Code::bad_request || error.code() == Code::unsupported) << error.what();
      }
    }
  }
}

TEST(DecodeBroken, ChangedBytesGiveAPictureOfTheSaidSizeOrAnError) {
  std::mt19937_64 random(test_seed());
  const DecodeLimits limits{.pixels = 1 << 16};
  const Quiet quiet;
  for (const File& file : one_of_each(random)) {
    for (int i = 0; i < 400; ++i) {
      File changed = file;
      for (size_t n = 1 + random() % 3; n > 0; --n)
        changed[random() % changed.size()] = static_cast<uint8_t>(random());
      try {
        const Picture picture = decode(changed, limits);
        EXPECT_EQ(picture.rgb.size(),
                  size_t{3} * static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height));
      } catch (const Error& error) {
        EXPECT_FALSE(std::string(error.what()).empty());
      }
    }
  }
}

void put_big_endian(File& file, size_t at, uint32_t value, int n_bytes) {
  for (int i = 0; i < n_bytes; ++i)
    file[at + static_cast<size_t>(i)] = static_cast<uint8_t>(value >> (8 * (n_bytes - 1 - i)));
}

// A file whose header says another size than its data have.
File resized(Format format, uint32_t width, uint32_t height) {
  std::mt19937_64 random(7);
  const Picture picture = random_picture(8, 8, random);
  File file = format == Format::png    ? encode_png(picture)
              : format == Format::jpeg ? encode_jpeg(picture)
                                       : whole_gif(8, 8);
  if (format == Format::png) {
    put_big_endian(file, 16, width, 4);
    put_big_endian(file, 20, height, 4);
  } else if (format == Format::gif) {
    for (const auto& [at, value] : {std::pair<size_t, uint32_t>{6, width}, {8, height}}) {
      file[at] = static_cast<uint8_t>(value);
      file[at + 1] = static_cast<uint8_t>(value >> 8);
    }
  } else {
    for (size_t at = 0; at + 9 < file.size(); ++at) {
      if (file[at] != 0xff || file[at + 1] != 0xc0) continue;
      put_big_endian(file, at + 5, height, 2);
      put_big_endian(file, at + 7, width, 2);
      break;
    }
  }
  return file;
}

// So that a decoder that allocated what the header says would be seen.
class LittleMemory {
 public:
  LittleMemory() {
    getrlimit(RLIMIT_AS, &before_);
    rlimit little = before_;
    little.rlim_cur = rlim_t{900} << 20;
    setrlimit(RLIMIT_AS, &little);
  }
  ~LittleMemory() { setrlimit(RLIMIT_AS, &before_); }
  LittleMemory(const LittleMemory&) = delete;
  LittleMemory& operator=(const LittleMemory&) = delete;

 private:
  rlimit before_{};
};

TEST(DecodeBroken, HugeSizesAreRefusedBeforeAnythingIsAllocated) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they need the address space themselves
  const LittleMemory little;
#endif
  for (const Format format : {Format::png, Format::jpeg, Format::gif}) {
    const std::string said = refusal(resized(format, 20000, 20000));
    EXPECT_THAT(said,
                HasSubstr("is 20000 x 20000 pixels; it may have at most 33554432, and 16384 on a side"));
    EXPECT_THAT(refusal(resized(format, 40000, 2)), HasSubstr("is 40000 x 2 pixels"));
  }
  EXPECT_THAT(refusal(resized(Format::png, 0x7fffffff, 0x7fffffff)), HasSubstr("2147483647 x 2147483647"));
  EXPECT_THAT(refusal(resized(Format::png, 0xffffffff, 1)), HasSubstr("its size is none"));
}

TEST(DecodeBroken, NoPixelsAreNoPicture) {
  const Quiet quiet;
  for (const Format format : {Format::png, Format::jpeg, Format::gif})
    EXPECT_THAT(refusal(resized(format, 0, 0)), HasSubstr("0 x 0 pixels; it must have at least one"));
  EXPECT_THAT(refusal(resized(Format::png, 0, 5)), HasSubstr("0 x 5"));
}

TEST(DecodeBroken, HeadersThatPromiseMoreThanThereIs) {
  const Quiet quiet;
  for (const Format format : {Format::png, Format::jpeg})
    EXPECT_THAT(refusal(resized(format, 64, 64)), HasSubstr("broken or cut off")) << format_name(format);
}

TEST(DecodeBroken, LimitsAreObeyedToThePixelAndTheByte) {
  std::mt19937_64 random(test_seed());
  for (const File& file : one_of_each(random)) {
    EXPECT_NO_THROW(decode(file, {.file_bytes = file.size(), .pixels = 110, .side_pixels = 11}));
    EXPECT_THAT(refusal(file, {.pixels = 109}), HasSubstr("at most 109"));
    EXPECT_THAT(refusal(file, {.side_pixels = 10}), HasSubstr("10 on a side"));
    EXPECT_THAT(refusal(file, {.file_bytes = file.size() - 1}), HasSubstr("bytes; it may have at most"));
  }
}

TEST(DecodeBroken, AFrameOfAGifThatIsLargerThanAllowed) {
  const File file = encode_gif({.width = 4,
                                .height = 4,
                                .frame_width = 100,
                                .frame_height = 100,
                                .indices = std::vector<uint8_t>(10'000),
                                .palette = {1, 2, 3, 4, 5, 6}});
  EXPECT_NO_THROW(decode(file));
  EXPECT_THAT(refusal(file, {.pixels = 9'999}), HasSubstr("first frame is 100 x 100"));
}

TEST(DecodeBroken, AJpegOfEndlessScans) {
  std::mt19937_64 random(test_seed());
  const Picture picture = random_picture(16, 16, random);
  const File file =
      encode_jpeg(JpegSpec{.width = 16, .height = 16, .samples = picture.rgb, .progressive = true});
  size_t last = 0;  // where the last scan begins; it is said again and again
  for (size_t at = 0; at + 1 < file.size(); ++at)
    if (file[at] == 0xff && file[at + 1] == 0xda) last = at;
  ASSERT_GT(last, 0u);
  File bomb(file.begin(), file.begin() + static_cast<ptrdiff_t>(last));
  for (int i = 0; i < 1000; ++i)
    bomb.insert(bomb.end(), file.begin() + static_cast<ptrdiff_t>(last), file.end() - 2);
  bomb.insert(bomb.end(), file.end() - 2, file.end());
  const Quiet quiet;
  EXPECT_THAT(refusal(bomb), HasSubstr("more than 100 scans"));
}

}  // namespace
}  // namespace fastcache::image
