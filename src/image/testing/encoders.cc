// SPDX-License-Identifier: Apache-2.0
#include "image/testing/encoders.h"

#include <gif_lib.h>
#include <png.h>
#include <webp/encode.h>

#include <cstdio>
#include <cstdlib>
// libjpeg's header needs <cstdio>
#include <jpeglib.h>

#include <stdexcept>

namespace fastcache::image::test_support {
namespace {

void must(bool worked, const char* what) {
  if (!worked) throw std::runtime_error(what);
}

void png_append(png_structp png, png_bytep data, size_t n_bytes) {
  auto* file = static_cast<File*>(png_get_io_ptr(png));
  file->insert(file->end(), data, data + n_bytes);
}

void png_flushed(png_structp) {}

void set_palette(png_structp png, png_infop info, const PngSpec& spec) {
  std::vector<png_color> colours;
  for (size_t i = 0; i + 2 < spec.palette.size(); i += 3)
    colours.push_back({spec.palette[i], spec.palette[i + 1], spec.palette[i + 2]});
  png_set_PLTE(png, info, colours.data(), static_cast<int>(colours.size()));
  if (!spec.palette_alpha.empty())
    png_set_tRNS(png, info, spec.palette_alpha.data(), static_cast<int>(spec.palette_alpha.size()), nullptr);
}

// DC of all components, then AC of each: no scan refines another, so each may be said again without a
// warning.
std::vector<jpeg_scan_info> scans_of(int n_components) {
  std::vector<jpeg_scan_info> scans(1);
  scans[0].comps_in_scan = n_components;
  for (int i = 0; i < n_components; ++i) {
    scans[0].component_index[i] = i;
    scans.push_back({.comps_in_scan = 1, .component_index = {i}, .Ss = 1, .Se = 63, .Ah = 0, .Al = 0});
  }
  return scans;
}

int gif_append(GifFileType* gif, const GifByteType* data, int n_bytes) {
  auto* file = static_cast<File*>(gif->UserData);
  file->insert(file->end(), data, data + n_bytes);
  return n_bytes;
}

void put_gif_rows(GifFileType* gif, const GifSpec& spec, int width, int height) {
  constexpr int kFirst[] = {0, 4, 2, 1}, kEvery[] = {8, 8, 4, 2};
  std::vector<uint8_t> indices = spec.indices;
  for (int pass = 0; pass < (spec.interlaced ? 4 : 1); ++pass) {
    for (int y = spec.interlaced ? kFirst[pass] : 0; y < height; y += spec.interlaced ? kEvery[pass] : 1) {
      must(EGifPutLine(gif, indices.data() + static_cast<size_t>(y) * static_cast<size_t>(width), width) ==
               GIF_OK,
           "EGifPutLine");
    }
  }
}

}  // namespace

File encode_png(const PngSpec& spec) {
  File file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &file, png_append, png_flushed);
  png_set_IHDR(png, info, static_cast<uint32_t>(spec.width), static_cast<uint32_t>(spec.height), spec.bits,
               static_cast<int>(spec.colour), spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!spec.palette.empty()) set_palette(png, info, spec);
  File exif = spec.exif;
  if (!exif.empty()) png_set_eXIf_1(png, info, static_cast<uint32_t>(exif.size()), exif.data());
  png_write_info(png, info);
  const size_t row_bytes = png_get_rowbytes(png, info);
  must(spec.rows.size() == row_bytes * static_cast<size_t>(spec.height), "rows of another size");
  const int n_passes = png_set_interlace_handling(png);
  for (int pass = 0; pass < n_passes; ++pass)
    for (int y = 0; y < spec.height; ++y)
      png_write_row(png, spec.rows.data() + static_cast<size_t>(y) * row_bytes);
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

File encode_png(const Picture& picture, bool interlaced) {
  return encode_png(PngSpec{
      .width = picture.width, .height = picture.height, .interlaced = interlaced, .rows = picture.rgb});
}

File encode_jpeg(const JpegSpec& spec) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long n_bytes = 0;
  jpeg_mem_dest(&jpeg, &memory, &n_bytes);
  jpeg.image_width = static_cast<JDIMENSION>(spec.width);
  jpeg.image_height = static_cast<JDIMENSION>(spec.height);
  jpeg.input_components = spec.n_components;
  jpeg.in_color_space = spec.n_components == 1 ? JCS_GRAYSCALE : spec.n_components == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  if (spec.n_components == 4) jpeg_set_colorspace(&jpeg, spec.ycck ? JCS_YCCK : JCS_CMYK);
  if (!spec.adobe_marker) jpeg.write_Adobe_marker = FALSE;
  jpeg_set_quality(&jpeg, spec.quality, TRUE);
  for (int i = 0; i < jpeg.num_components; ++i)
    jpeg.comp_info[i].h_samp_factor = jpeg.comp_info[i].v_samp_factor = 1;
  std::vector<jpeg_scan_info> scans;
  if (spec.progressive) {
    scans = scans_of(jpeg.num_components);
    jpeg.scan_info = scans.data();
    jpeg.num_scans = static_cast<int>(scans.size());
  }
  jpeg_start_compress(&jpeg, TRUE);
  if (!spec.exif.empty())
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, spec.exif.data(), static_cast<unsigned>(spec.exif.size()));
  std::vector<uint8_t> samples = spec.samples;
  const auto row_bytes = static_cast<size_t>(spec.width * spec.n_components);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = samples.data() + jpeg.next_scanline * row_bytes;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  File file(memory, memory + n_bytes);
  std::free(memory);
  return file;
}

File encode_jpeg(const Picture& picture) {
  return encode_jpeg(JpegSpec{.width = picture.width, .height = picture.height, .samples = picture.rgb});
}

File encode_webp(const Picture& picture) {
  uint8_t* memory = nullptr;
  const size_t n =
      WebPEncodeLosslessRGB(picture.rgb.data(), picture.width, picture.height, 3 * picture.width, &memory);
  must(n > 0, "WebPEncodeLosslessRGB");
  File file(memory, memory + n);
  WebPFree(memory);
  return file;
}

// The simple call would throw the colour of transparent pixels away.
File encode_webp_rgba(int width, int height, const std::vector<uint8_t>& rgba) {
  WebPConfig config;
  WebPPicture picture;
  must(WebPConfigInit(&config) != 0 && WebPPictureInit(&picture) != 0, "WebPConfigInit");
  config.lossless = 1;
  config.exact = 1;
  picture.use_argb = 1;
  picture.width = width;
  picture.height = height;
  WebPMemoryWriter writer;
  WebPMemoryWriterInit(&writer);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &writer;
  must(WebPPictureImportRGBA(&picture, rgba.data(), 4 * width) != 0, "WebPPictureImportRGBA");
  must(WebPEncode(&config, &picture) != 0, "WebPEncode");
  File file(writer.mem, writer.mem + writer.size);
  WebPPictureFree(&picture);
  WebPMemoryWriterClear(&writer);
  return file;
}

File encode_gif(const GifSpec& spec) {
  File file;
  int error = 0;
  GifFileType* gif = EGifOpen(&file, gif_append, &error);
  must(gif != nullptr, "EGifOpen");
  std::vector<GifColorType> colours;
  for (size_t i = 0; i + 2 < spec.palette.size(); i += 3)
    colours.push_back({spec.palette[i], spec.palette[i + 1], spec.palette[i + 2]});
  ColorMapObject* map = GifMakeMapObject(static_cast<int>(colours.size()), colours.data());
  must(map != nullptr, "GifMakeMapObject");
  EGifSetGifVersion(gif, true);
  must(EGifPutScreenDesc(gif, spec.width, spec.height, 8, 0, map) == GIF_OK, "EGifPutScreenDesc");
  if (spec.transparent >= 0) {
    const GifByteType control[] = {1, 0, 0, static_cast<GifByteType>(spec.transparent)};
    must(EGifPutExtension(gif, GRAPHICS_EXT_FUNC_CODE, sizeof control, control) == GIF_OK,
         "EGifPutExtension");
  }
  const int width = spec.frame_width > 0 ? spec.frame_width : spec.width;
  const int height = spec.frame_height > 0 ? spec.frame_height : spec.height;
  must(EGifPutImageDesc(gif, spec.left, spec.top, width, height, spec.interlaced, nullptr) == GIF_OK,
       "EGifPutImageDesc");
  put_gif_rows(gif, spec, width, height);
  GifFreeMapObject(map);
  must(EGifCloseFile(gif, &error) == GIF_OK, "EGifCloseFile");
  return file;
}

File exif_with(int orientation, bool big_endian) {
  const auto value = static_cast<uint8_t>(orientation);
  if (big_endian)
    return {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, value, 0, 0, 0, 0, 0, 0};
  return {'I', 'I', '*', 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, value, 0, 0, 0, 0, 0, 0, 0};
}

Picture random_picture(int width, int height, std::mt19937_64& random) {
  return {.width = width,
          .height = height,
          .rgb = random_bytes(size_t{3} * static_cast<size_t>(width) * static_cast<size_t>(height), random)};
}

Picture random_picture(int width, int height, uint64_t seed) {
  std::mt19937_64 random(seed);
  return random_picture(width, height, random);
}

std::vector<uint8_t> random_bytes(size_t n, std::mt19937_64& random) {
  std::vector<uint8_t> bytes(n);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

}  // namespace fastcache::image::test_support
