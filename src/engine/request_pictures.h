// SPDX-License-Identifier: Apache-2.0
// The pictures of a request, from what a user hands in to what the engine works on. Part of request_check.
// Thread-safe.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/request_state.h"
#include "fastcache/request.h"
#include "model/vision_encoder.h"

namespace fastcache::engine {

using SharedPicture = std::shared_ptr<const Picture>;

// For each kPictureToken of the prompt its picture. Throws Error (bad_request) when their numbers differ.
std::vector<SharedPicture> pictures_of(const Request& request, std::span<const int32_t> prompt);

// Puts into state.prompt what the pictures become, by their sizes alone. Throws Error: unsupported (the model
// sees no pictures: vision is null), bad_request (a size).
void lay_out_pictures(std::span<const SharedPicture> pictures, const model::VisionEncoder* vision,
                      RequestState& state);

// Keeps the pictures for encoding, under their digests.
void take_pictures(std::span<const SharedPicture> pictures, const model::VisionEncoder& vision,
                   RequestState& state);

// Without the pictures: for penalties.
std::vector<int32_t> text_of(std::span<const int32_t> prompt);

}  // namespace fastcache::engine
