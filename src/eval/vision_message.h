// SPDX-License-Identifier: Apache-2.0
// A question about pictures as a user's message. Thread-safe: no state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "eval/vision_question.h"
#include "fastcache/request.h"

namespace fastcache::eval {

// The bytes of a picture's file. Throws Error with the path: not_found, io, bad_request.
std::vector<uint8_t> picture_bytes(const std::string& path);

// Decoded. Throws Error with the path: as picture_bytes, unsupported.
std::shared_ptr<const Picture> load_picture(const std::string& path);

// blind: the texts alone. Throws Error: those of load_picture.
Message user_message(const VisionQuestion& question, bool blind);

// All texts of the question, without pictures.
std::string text_of(const VisionQuestion& question);

}  // namespace fastcache::eval
