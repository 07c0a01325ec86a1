// SPDX-License-Identifier: Apache-2.0
// The first frame of a gif, read record by record: what comes behind it is not looked at.
#include <fmt/format.h>
#include <gif_lib.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "image/byte_order.h"
#include "image/formats.h"

namespace fastcache::image {
namespace {

struct Source {
  Bytes file;
  size_t at = 0;
};

int on_read(GifFileType* gif, GifByteType* into, int n_bytes) {
  auto* source = static_cast<Source*>(gif->UserData);
  const size_t n = std::min(source->file.size() - source->at, static_cast<size_t>(std::max(n_bytes, 0)));
  std::copy_n(source->file.begin() + static_cast<ptrdiff_t>(source->at), n, into);
  source->at += n;
  return static_cast<int>(n);
}

struct CloseGif {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, CloseGif>;

const char* text_of(int error) {
  const char* text = GifErrorString(error);
  return text != nullptr ? text : "it cannot be read";
}

void must(const Gif& gif, bool worked) {
  if (!worked) refuse_broken(Format::gif, text_of(gif->Error));
}

Gif open(Source& source) {
  int error = 0;
  Gif gif(DGifOpen(&source, on_read, &error));
  if (!gif) refuse_broken(Format::gif, text_of(error));
  return gif;
}

// Reads what stands before the first frame and the frame's own header. Returns the index of what is
// transparent in it, or -1.
int read_to_frame(const Gif& gif) {
  int transparent = NO_TRANSPARENT_COLOR;
  for (GifRecordType record = UNDEFINED_RECORD_TYPE; record != IMAGE_DESC_RECORD_TYPE;) {
    must(gif, DGifGetRecordType(gif.get(), &record) != GIF_ERROR);
    if (record == TERMINATE_RECORD_TYPE) refuse_broken(Format::gif, "it has no frame");
    if (record != EXTENSION_RECORD_TYPE) continue;
    int code = 0;
    GifByteType* data = nullptr;  // its length, then so many bytes; null: the end
    must(gif, DGifGetExtension(gif.get(), &code, &data) != GIF_ERROR);
    while (data != nullptr) {
      GraphicsControlBlock control{};
      if (code == GRAPHICS_EXT_FUNC_CODE && DGifExtensionToGCB(data[0], data + 1, &control) != GIF_ERROR)
        transparent = control.TransparentColor;
      must(gif, DGifGetExtensionNext(gif.get(), &data) != GIF_ERROR);
    }
  }
  must(gif, DGifGetImageDesc(gif.get()) != GIF_ERROR);
  return transparent;
}

void put_row(const std::vector<GifPixelType>& row, const ColorMapObject& colours, int transparent, int left,
             std::span<uint8_t> rgb) {
  const auto first = static_cast<size_t>(left);
  for (size_t x = 0; x < row.size() && 3 * (first + x) < rgb.size(); ++x) {
    const int index = row[x];
    if (index == transparent) continue;
    if (index >= colours.ColorCount) refuse_broken(Format::gif, "a pixel has a colour beyond the palette");
    const GifColorType& colour = colours.Colors[index];
    const size_t at = 3 * (first + x);
    rgb[at] = colour.Red;
    rgb[at + 1] = colour.Green;
    rgb[at + 2] = colour.Blue;
  }
}

void read_rows(const Gif& gif, int transparent, Picture& picture) {
  const GifImageDesc& frame = gif->Image;
  const ColorMapObject* colours = frame.ColorMap != nullptr ? frame.ColorMap : gif->SColorMap;
  if (colours == nullptr) refuse_broken(Format::gif, "it has no palette");
  constexpr int kFirst[] = {0, 4, 2, 1}, kEvery[] = {8, 8, 4, 2};  // rows of an interlaced frame
  const size_t row_bytes = 3 * static_cast<size_t>(picture.width);
  std::vector<GifPixelType> row(static_cast<size_t>(frame.Width));
  for (int pass = 0; pass < (frame.Interlace ? 4 : 1); ++pass) {
    const int every = frame.Interlace ? kEvery[pass] : 1;
    for (int y = frame.Interlace ? kFirst[pass] : 0; y < frame.Height; y += every) {
      must(gif, DGifGetLine(gif.get(), row.data(), frame.Width) != GIF_ERROR);
      if (frame.Top + y >= picture.height) continue;
      const size_t begin = static_cast<size_t>(frame.Top + y) * row_bytes;
      put_row(row, *colours, transparent, frame.Left, std::span(picture.rgb).subspan(begin, row_bytes));
    }
  }
}

void check_frame(const GifImageDesc& frame, const DecodeLimits& limits) {
  if (frame.Width <= 0 || frame.Height <= 0) refuse_broken(Format::gif, "its first frame has no pixels");
  if (int64_t{frame.Width} * frame.Height <= limits.pixels) return;
  throw Error{Code::bad_request,
              fmt::format("the gif picture's first frame is {} x {} pixels; it may have at most {}",
                          frame.Width, frame.Height, limits.pixels)};
}

}  // namespace

PictureSize size_of_gif(Bytes file) {
  if (file.size() < 10) refuse_broken(Format::gif, "the file ends in its header");
  return {.format = Format::gif,
          .width = static_cast<int>(little_endian(file, 6, 2)),
          .height = static_cast<int>(little_endian(file, 8, 2))};
}

Picture decode_gif(Bytes file, const PictureSize& size, const DecodeLimits& limits) {
  Source source{file};
  const Gif gif = open(source);
  const int transparent = read_to_frame(gif);
  check_frame(gif->Image, limits);
  Picture picture = blank(size, 255);
  read_rows(gif, transparent, picture);
  return picture;
}

}  // namespace fastcache::image
