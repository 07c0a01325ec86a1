// SPDX-License-Identifier: Apache-2.0
// Any bytes as a picture's file: a picture of the size that its header says, within the limits, or one Error
// that can be shown.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "image/decode.h"

namespace {

using namespace fastcache;
using namespace fastcache::image;

constexpr DecodeLimits kLimits{.file_bytes = 1 << 20, .pixels = 1 << 14, .side_pixels = 4096};

void must_hold(bool claim) {
  if (!claim) std::abort();
}

void check_taken(const Picture& picture, const PictureSize& size) {
  const bool as_said = picture.width == size.width && picture.height == size.height;
  const bool turned = picture.width == size.height && picture.height == size.width;
  must_hold(as_said || turned);
  const int64_t n_pixels = int64_t{picture.width} * picture.height;
  must_hold(n_pixels > 0 && n_pixels <= kLimits.pixels);
  must_hold(picture.rgb.size() == 3 * static_cast<size_t>(n_pixels));
}

void check_refused(const Error& error) {
  must_hold(error.code() == Code::bad_request || error.code() == Code::unsupported);
  const std::string_view sentence = error.what();
  must_hold(!sentence.empty());
  for (const char c : sentence) must_hold(c >= ' ' && c < '\x7f');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes file(data, size);
  try {
    check_taken(decode(file, kLimits), inspect(file));
  } catch (const Error& error) {
    check_refused(error);
  }
  return 0;
}
