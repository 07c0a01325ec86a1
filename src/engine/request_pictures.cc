// SPDX-License-Identifier: Apache-2.0
#include "engine/request_pictures.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "image/picture.h"

namespace fastcache::engine {
namespace {

// Of a picture and what encodes it.
Hash128 digest_of(const Picture& picture, const Hash128& encoder) {
  const Hash128 pixels = image::pixel_digest(picture);
  const std::array<uint64_t, 4> whole = {pixels.low, pixels.high, encoder.low, encoder.high};
  return hash128(std::as_bytes(std::span(whole)));
}

void check_pixels(const Picture& picture, size_t number) {
  const auto sides = static_cast<size_t>(picture.width) * static_cast<size_t>(picture.height);
  if (picture.rgb.size() == 3 * sides) return;
  throw Error{Code::bad_request,
              fmt::format("picture {} has {} x {} pixels and {} bytes; there must be {}", number,
                          picture.width, picture.height, picture.rgb.size(), 3 * sides)};
}

}  // namespace

std::vector<SharedPicture> pictures_of(const Request& request, std::span<const int32_t> prompt) {
  std::vector<SharedPicture> pictures = request.pictures;
  for (const Message& message : request.messages) {
    for (const MessagePart& part : message.parts)
      if (part.picture != nullptr) pictures.push_back(part.picture);
  }
  const auto n_places = static_cast<size_t>(std::count(prompt.begin(), prompt.end(), kPictureToken));
  if (n_places != pictures.size()) {
    throw Error{
        Code::bad_request,
        fmt::format("the request has {} pictures and {} places for pictures in its prompt; there must be "
                    "one for each",
                    pictures.size(), n_places)};
  }
  if (std::find(pictures.begin(), pictures.end(), nullptr) != pictures.end())
    throw Error{Code::bad_request, "one of the request's pictures is null"};
  return pictures;
}

void lay_out_pictures(std::span<const SharedPicture> pictures, const model::VisionEncoder* vision,
                      RequestState& state) {
  if (vision == nullptr) {
    throw Error{
        Code::unsupported,
        "the request has a picture, but this model has no vision: it was loaded without an mmproj file"};
  }
  std::vector<model::PictureLayout> layouts;
  for (size_t i = 0; i < pictures.size(); ++i) {
    layouts.push_back(vision->layout(pictures[i]->width, pictures[i]->height));
    check_pixels(*pictures[i], i);
    state.summary.image_tokens += layouts.back().n_image_tokens();
  }
  state.grids_are_whole = vision->reading().both_ways;
  state.picture_prompt = model::expand_pictures(state.prompt, layouts, vision->reading());
  state.prompt.clear();
  for (const kv::Token& token : state.picture_prompt.tokens) state.prompt.push_back(token.id);
}

void take_pictures(std::span<const SharedPicture> pictures, const model::VisionEncoder& vision,
                   RequestState& state) {
  for (const SharedPicture& picture : pictures) {
    state.image_digests.push_back(digest_of(*picture, vision.identity()));
    state.pictures.push_back(
        {.pixels = picture, .digest = state.image_digests.back(), .embeddings = nullptr});
  }
}

std::vector<int32_t> text_of(std::span<const int32_t> prompt) {
  std::vector<int32_t> text(prompt.begin(), prompt.end());
  std::erase(text, kPictureToken);
  return text;
}

}  // namespace fastcache::engine
