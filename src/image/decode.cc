// SPDX-License-Identifier: Apache-2.0
#include "image/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "image/formats.h"

namespace fastcache::image {
namespace {

struct Mark {
  std::string_view bytes;
  size_t at;
  const char* name;
};

// Formats that people send and that are not read here, so that the refusal can call them by name.
constexpr Mark kOthers[] = {{"BM", 0, "bmp"},
                            {{"II*\0", 4}, 0, "tiff"},
                            {{"MM\0*", 4}, 0, "tiff"},
                            {"ftypavif", 4, "avif"},
                            {"ftypavis", 4, "avif"},
                            {"ftyphei", 4, "heic"},
                            {"ftypmif1", 4, "heic"},
                            {"ftypmsf1", 4, "heic"},
                            {{"\0\0\1\0", 4}, 0, "ico"},
                            {"%PDF", 0, "pdf"},
                            {"<svg", 0, "svg"},
                            {"<?xml", 0, "xml (svg?)"},
                            {"<!DOCTYPE", 0, "html"},
                            {"<!doctype", 0, "html"},
                            {"<html", 0, "html"},
                            {{"\xff\x0a", 2}, 0, "jpeg xl"},
                            {{"\0\0\0\x0cJXL ", 8}, 0, "jpeg xl"},
                            {"{", 0, "json"},
                            {"data:", 0, "a data URL, not what is in it"}};

bool has(Bytes file, std::string_view text, size_t at) {
  return file.size() >= at + text.size() &&
         std::equal(text.begin(), text.end(), file.begin() + static_cast<ptrdiff_t>(at),
                    [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
}

std::optional<Format> format_of(Bytes file) {
  if (has(file, "\x89PNG\r\n\x1a\n", 0)) return Format::png;
  if (has(file, "\xff\xd8\xff", 0)) return Format::jpeg;
  if (has(file, "RIFF", 0) && has(file, "WEBP", 8)) return Format::webp;
  if (has(file, "GIF87a", 0) || has(file, "GIF89a", 0)) return Format::gif;
  return std::nullopt;
}

[[noreturn]] void refuse_format(Bytes file) {
  if (file.empty())
    throw Error{Code::bad_request, "the picture is empty; it must be a png, jpeg, webp or gif"};
  for (const Mark& other : kOthers) {
    if (!has(file, other.bytes, other.at)) continue;
    throw Error{Code::unsupported,
                fmt::format("the picture is {}; it must be a png, jpeg, webp or gif", other.name)};
  }
  std::string head;
  for (const uint8_t byte : file.first(std::min<size_t>(file.size(), 8)))
    head += fmt::format("{}{:02x}", head.empty() ? "" : " ", byte);
  throw Error{Code::unsupported,
              fmt::format("the picture is of no known format: it begins with the bytes {}; it must be a png, "
                          "jpeg, webp or gif",
                          head)};
}

void check(const PictureSize& size, const DecodeLimits& limits) {
  const char* name = format_name(size.format);
  if (size.width <= 0 || size.height <= 0) {
    throw Error{Code::bad_request, fmt::format("the {} picture is {} x {} pixels; it must have at least one",
                                               name, size.width, size.height)};
  }
  const bool too_wide = size.width > limits.side_pixels || size.height > limits.side_pixels;
  if (too_wide || int64_t{size.width} * size.height > limits.pixels) {
    throw Error{Code::bad_request,
                fmt::format("the {} picture is {} x {} pixels; it may have at most {}, and {} on a side",
                            name, size.width, size.height, limits.pixels, limits.side_pixels)};
  }
}

}  // namespace

const char* format_name(Format format) {
  constexpr std::array kNames{"png", "jpeg", "webp", "gif"};
  return kNames.at(static_cast<size_t>(format));
}

PictureSize inspect(Bytes file) {
  const std::optional<Format> format = format_of(file);
  if (!format) refuse_format(file);
  switch (*format) {
    case Format::png:
      return size_of_png(file);
    case Format::jpeg:
      return size_of_jpeg(file);
    case Format::webp:
      return size_of_webp(file);
    default:
      return size_of_gif(file);
  }
}

Picture decode(Bytes file, const DecodeLimits& limits) {
  if (file.size() > limits.file_bytes) {
    throw Error{Code::bad_request, fmt::format("the picture's file has {} bytes; it may have at most {}",
                                               file.size(), limits.file_bytes)};
  }
  const PictureSize size = inspect(file);
  check(size, limits);
  switch (size.format) {
    case Format::png:
      return decode_png(file, size);
    case Format::jpeg:
      return decode_jpeg(file, size);
    case Format::webp:
      return decode_webp(file, size);
    default:
      return decode_gif(file, size, limits);
  }
}

Picture blank(const PictureSize& size, uint8_t value) {
  const auto n_pixels = static_cast<size_t>(size.width) * static_cast<size_t>(size.height);
  return {.width = size.width, .height = size.height, .rgb = std::vector<uint8_t>(3 * n_pixels, value)};
}

void refuse_broken(Format format, std::string_view why) {
  std::string shown;
  for (const char c : why.substr(0, 100)) shown += c >= ' ' && c < '\x7f' ? c : '?';
  throw Error{Code::bad_request, fmt::format("the {} picture is broken or cut off ({}); send the whole file",
                                             format_name(format), shown)};
}

}  // namespace fastcache::image
