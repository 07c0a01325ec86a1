// SPDX-License-Identifier: Apache-2.0
// libjpeg-turbo reports errors by a call that must not return: it jumps, over C frames alone. All that owns
// memory lies in JpegReader, outside of the calls.
#include <cstddef>
#include <cstdio>
// libjpeg's headers need the two above
#include <jerror.h>
#include <jpeglib.h>

#include <array>
#include <csetjmp>

#include "base/error.h"
#include "image/byte_order.h"
#include "image/formats.h"
#include "image/orientation.h"

namespace fastcache::image {
namespace {

constexpr int kMostScans = 100;  // of a progressive picture; each costs the time of a whole one

struct JpegReader {
  jpeg_decompress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf jump;
  std::array<char, JMSG_LENGTH_MAX> why{};

  JpegReader() = default;
  ~JpegReader() { jpeg_destroy_decompress(&jpeg); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
};

JpegReader& reader_of(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }

[[noreturn]] void on_error(j_common_ptr jpeg) {
  JpegReader& reader = reader_of(jpeg);
  (*jpeg->err->format_message)(jpeg, reader.why.data());
  std::longjmp(reader.jump, 1);
}

// Level -1: the data are damaged and libjpeg would go on with what it makes of them. Oddities that change no
// pixel are let pass.
void on_message(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  switch (jpeg->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_BOGUS_ICC:
      return;
    default:
      on_error(jpeg);
  }
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr jpeg) {
  JpegReader& reader = reader_of(jpeg);
  if (reader.jpeg.input_scan_number <= kMostScans) return;
  std::snprintf(reader.why.data(), reader.why.size(), "it has more than %d scans", kMostScans);
  std::longjmp(reader.jump, 1);
}

bool read_header(JpegReader& reader, Bytes file) {
  if (setjmp(reader.jump) != 0) return false;
  reader.jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = on_error;
  reader.errors.emit_message = on_message;
  reader.errors.output_message = on_output;
  reader.jpeg.client_data = &reader;
  jpeg_create_decompress(&reader.jpeg);  // keeps err and client_data
  reader.progress.progress_monitor = on_progress;
  reader.jpeg.progress = &reader.progress;
  jpeg_mem_src(&reader.jpeg, file.data(), static_cast<unsigned long>(file.size()));
  jpeg_save_markers(&reader.jpeg, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&reader.jpeg, TRUE);
  return true;
}

bool start(JpegReader& reader) {
  if (setjmp(reader.jump) != 0) return false;
  reader.jpeg.out_color_space = reader.jpeg.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&reader.jpeg);
  return true;
}

// Row y comes as [width, components]; CMYK goes through `row` and becomes RGB by the inks' shares of light.
// Photoshop, and after it everyone, stores inks the other way round and says so by its marker.
void put_cmyk(const uint8_t* cmyk, size_t width, bool is_inverted, uint8_t* rgb) {
  const int flip = is_inverted ? 0 : 255;
  for (size_t x = 0; x < width; ++x) {
    const int black = cmyk[4 * x + 3] ^ flip;
    for (size_t c = 0; c < 3; ++c)
      rgb[3 * x + c] = static_cast<uint8_t>(((cmyk[4 * x + c] ^ flip) * black + 127) / 255);
  }
}

// row: [width, 4], used for CMYK alone.
bool read_rows(JpegReader& reader, uint8_t* rgb, uint8_t* row) {
  if (setjmp(reader.jump) != 0) return false;
  const size_t width = reader.jpeg.output_width;
  const bool is_cmyk = reader.jpeg.out_color_space == JCS_CMYK;
  while (reader.jpeg.output_scanline < reader.jpeg.output_height) {
    uint8_t* const into = rgb + reader.jpeg.output_scanline * 3 * width;
    JSAMPROW target = is_cmyk ? row : into;
    jpeg_read_scanlines(&reader.jpeg, &target, 1);
    if (is_cmyk) put_cmyk(row, width, reader.jpeg.saw_Adobe_marker != 0, into);
  }
  jpeg_finish_decompress(&reader.jpeg);
  return true;
}

int orientation_of(const JpegReader& reader) {
  for (const jpeg_marker_struct* marker = reader.jpeg.marker_list; marker != nullptr; marker = marker->next) {
    const Bytes data(marker->data, marker->data_length);
    if (data.size() > 4 && big_endian(data, 0, 4) == 0x45786966) return exif_orientation(data);  // Exif
  }
  return 1;
}

bool is_frame_header(uint8_t marker) {  // SOF0 .. SOF15, without DHT, JPG and DAC between them
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

bool has_no_data(uint8_t marker) { return marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8); }

}  // namespace

PictureSize size_of_jpeg(Bytes file) {
  for (size_t at = 2; at < file.size();) {
    while (at < file.size() && file[at] != 0xff) ++at;  // what stands between segments is skipped
    while (at < file.size() && file[at] == 0xff) ++at;  // fill bytes
    if (at >= file.size()) break;
    const uint8_t marker = file[at++];
    if (marker == 0 || has_no_data(marker)) continue;
    if (marker == 0xd9 || marker == 0xda) break;  // end of image, start of scan
    if (file.size() - at < 8) break;
    if (is_frame_header(marker)) {
      return {.format = Format::jpeg,
              .width = static_cast<int>(big_endian(file, at + 5, 2)),
              .height = static_cast<int>(big_endian(file, at + 3, 2))};
    }
    at += big_endian(file, at, 2);
  }
  refuse_broken(Format::jpeg, "it has no frame header");
}

Picture decode_jpeg(Bytes file, const PictureSize& size) {
  JpegReader reader;
  if (!read_header(reader, file)) refuse_broken(Format::jpeg, reader.why.data());
  if (reader.jpeg.image_width != static_cast<JDIMENSION>(size.width) ||
      reader.jpeg.image_height != static_cast<JDIMENSION>(size.height)) {
    refuse_broken(Format::jpeg, "two headers differ");
  }
  if (const int n = reader.jpeg.num_components; n != 1 && n != 3 && n != 4)
    refuse_broken(Format::jpeg, "it has neither 1, 3 nor 4 components");
  const int orientation = orientation_of(reader);  // finishing frees the markers
  if (!start(reader)) refuse_broken(Format::jpeg, reader.why.data());
  Picture picture = blank(size);
  std::vector<uint8_t> row(4 * static_cast<size_t>(size.width));
  if (!read_rows(reader, picture.rgb.data(), row.data())) refuse_broken(Format::jpeg, reader.why.data());
  return upright(std::move(picture), orientation);
}

}  // namespace fastcache::image
