// SPDX-License-Identifier: Apache-2.0
// libpng reports errors by longjmp. So what jumps over nothing but C frames and functions without
// destructors: all that owns memory lies in PngReader, outside of the calls.
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstdio>
#include <new>

#include "image/byte_order.h"
#include "image/formats.h"
#include "image/on_white.h"
#include "image/orientation.h"

namespace fastcache::image {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kChunkBytes = 12;  // besides its data: length, type, checksum

struct PngReader {
  Bytes file;
  size_t at = 0;
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::array<char, 80> why{};
  int width = 0, height = 0, n_channels = 0, n_passes = 0;

  explicit PngReader(Bytes bytes) : file(bytes) {}
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
};

[[noreturn]] void on_error(png_structp png, png_const_charp why) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::snprintf(reader->why.data(), reader->why.size(), "%s", why);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep into, size_t n_bytes) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (n_bytes > reader->file.size() - reader->at) png_error(png, "the file ends too early");
  std::copy_n(reader->file.begin() + static_cast<ptrdiff_t>(reader->at), n_bytes, into);
  reader->at += n_bytes;
}

void begin(PngReader& reader) {
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  if (reader.png == nullptr) throw std::bad_alloc();
  reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) throw std::bad_alloc();
}

// False: libpng refused, and `why` says for what reason. Rows are 8-bit RGB or RGBA afterwards.
bool read_header(PngReader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_set_read_fn(reader.png, &reader, on_read);
  // No chunk beside those that make the pixels: texts and profiles may unfold to any size.
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(reader.png, reader.info);
  png_set_expand(reader.png);
  png_set_scale_16(reader.png);
  png_set_gray_to_rgb(reader.png);
  reader.n_passes = png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  reader.width = static_cast<int>(png_get_image_width(reader.png, reader.info));
  reader.height = static_cast<int>(png_get_image_height(reader.png, reader.info));
  reader.n_channels = png_get_channels(reader.png, reader.info);
  return true;
}

// pixels: [height, width, n_channels]. An interlaced picture passes over them several times.
bool read_rows(PngReader& reader, uint8_t* pixels) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  const size_t row_bytes = static_cast<size_t>(reader.width) * static_cast<size_t>(reader.n_channels);
  for (int pass = 0; pass < reader.n_passes; ++pass)
    for (int y = 0; y < reader.height; ++y)
      png_read_row(reader.png, pixels + static_cast<size_t>(y) * row_bytes, nullptr);
  png_read_end(reader.png, nullptr);
  return true;
}

// By hand: libpng would keep every chunk that it knows.
int orientation_of(Bytes file) {
  for (size_t at = kSignatureBytes; file.size() - at >= kChunkBytes;) {
    const size_t length = big_endian(file, at, 4);
    if (length > file.size() - at - kChunkBytes) break;
    if (big_endian(file, at + 4, 4) == 0x65584966)
      return exif_orientation(file.subspan(at + 8, length));  // eXIf
    at += kChunkBytes + length;
  }
  return 1;
}

}  // namespace

PictureSize size_of_png(Bytes file) {
  constexpr size_t kHeadEnd = 24;  // signature, IHDR's length and type, width and height
  if (file.size() < kHeadEnd) refuse_broken(Format::png, "the file ends in its header");
  if (big_endian(file, 12, 4) != 0x49484452) refuse_broken(Format::png, "its first chunk is not IHDR");
  constexpr uint32_t kMost = 0x7fffffff;  // of the format
  const uint32_t width = big_endian(file, 16, 4), height = big_endian(file, 20, 4);
  if (width > kMost || height > kMost) refuse_broken(Format::png, "its size is none");
  return {.format = Format::png, .width = static_cast<int>(width), .height = static_cast<int>(height)};
}

Picture decode_png(Bytes file, const PictureSize& size) {
  PngReader reader(file);
  begin(reader);
  if (!read_header(reader)) refuse_broken(Format::png, reader.why.data());
  if (reader.width != size.width || reader.height != size.height)
    refuse_broken(Format::png, "two headers differ");
  Picture picture = blank(size);
  if (reader.n_channels == 3) {
    if (!read_rows(reader, picture.rgb.data())) refuse_broken(Format::png, reader.why.data());
  } else {
    std::vector<uint8_t> rgba(picture.rgb.size() / 3 * 4);
    if (!read_rows(reader, rgba.data())) refuse_broken(Format::png, reader.why.data());
    put_on_white(rgba, picture.rgb);
  }
  return upright(std::move(picture), orientation_of(file));
}

}  // namespace fastcache::image
