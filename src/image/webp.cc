// SPDX-License-Identifier: Apache-2.0
#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>

#include "image/formats.h"
#include "image/on_white.h"
#include "image/orientation.h"

namespace fastcache::image {
namespace {

struct FreeDemuxer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
using Demuxer = std::unique_ptr<WebPDemuxer, FreeDemuxer>;

int orientation_of(const WebPDemuxer* demuxer) {
  WebPChunkIterator chunk{};
  int orientation = 1;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk) != 0)
    orientation = exif_orientation(Bytes(chunk.chunk.bytes, chunk.chunk.size));
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

// A frame's own pixels, [height, width, 4].
std::vector<uint8_t> decode_frame(const WebPIterator& frame) {
  int width = 0, height = 0;
  const bool is_readable = WebPGetInfo(frame.fragment.bytes, frame.fragment.size, &width, &height) != 0;
  if (!is_readable || width != frame.width || height != frame.height || frame.complete == 0)
    refuse_broken(Format::webp, "its first frame cannot be read");
  std::vector<uint8_t> rgba(size_t{4} * static_cast<size_t>(width) * static_cast<size_t>(height));
  if (WebPDecodeRGBAInto(frame.fragment.bytes, frame.fragment.size, rgba.data(), rgba.size(), 4 * width) ==
      nullptr) {
    refuse_broken(Format::webp, "its data are damaged");
  }
  return rgba;
}

void put_frame(const WebPIterator& frame, Picture& picture) {
  const bool fits = frame.x_offset >= 0 && frame.y_offset >= 0 &&
                    frame.x_offset + frame.width <= picture.width &&
                    frame.y_offset + frame.height <= picture.height;
  if (!fits) refuse_broken(Format::webp, "its first frame is larger than the picture");
  const std::vector<uint8_t> rgba = decode_frame(frame);
  const auto width = static_cast<size_t>(frame.width);
  for (int y = 0; y < frame.height; ++y) {
    const size_t begin = static_cast<size_t>(frame.y_offset + y) * static_cast<size_t>(picture.width) +
                         static_cast<size_t>(frame.x_offset);
    put_on_white(std::span(rgba).subspan(4 * width * static_cast<size_t>(y), 4 * width),
                 std::span(picture.rgb).subspan(3 * begin, 3 * width));
  }
}

}  // namespace

PictureSize size_of_webp(Bytes file) {
  PictureSize size{.format = Format::webp};
  if (WebPGetInfo(file.data(), file.size(), &size.width, &size.height) == 0)
    refuse_broken(Format::webp, "its header cannot be read");
  return size;
}

Picture decode_webp(Bytes file, const PictureSize& size) {
  const WebPData data{file.data(), file.size()};
  const Demuxer demuxer(WebPDemux(&data));
  if (!demuxer) refuse_broken(Format::webp, "its parts do not fit together");
  if (WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH) != static_cast<uint32_t>(size.width) ||
      WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT) != static_cast<uint32_t>(size.height)) {
    refuse_broken(Format::webp, "two headers differ");
  }
  WebPIterator frame{};
  const std::unique_ptr<WebPIterator, decltype(&WebPDemuxReleaseIterator)> release(&frame,
                                                                                   WebPDemuxReleaseIterator);
  if (WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) refuse_broken(Format::webp, "it has no frame");
  Picture picture = blank(size, 255);
  put_frame(frame, picture);
  return upright(std::move(picture), orientation_of(demuxer.get()));
}

}  // namespace fastcache::image
