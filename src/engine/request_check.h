// SPDX-License-Identifier: Apache-2.0
// Turns what a user asks for into what the engine works on, and refuses what can never work.
// Thread-safe: only reads the model.
#pragma once

#include <memory>

#include "engine/request_state.h"
#include "fastcache/request.h"
#include "model/loaded_model.h"
#include "model/vision_encoder.h"

namespace fastcache::engine {

// Whatever a request says about compression, checked, with the registry's names and defaults. Throws Error:
// bad_request, not_found (press).
press::PressParams press_params(const Compression& compression);

// Arrives at now_ms; kv_type: of the cache that its rows will lie in. Throws Error: bad_request (names the
// field), context_too_long, not_found (press), unsupported. vision: the encoder, or null if the model sees no
// pictures. How many tokens a picture takes follows from its size: what does not fit into the context is
// refused before anything is encoded.
std::unique_ptr<RequestState> prepare_request(const Request& request, const model::LoadedModel& model,
                                              kv::KvType kv_type, double now_ms,
                                              const model::VisionEncoder* vision = nullptr);

}  // namespace fastcache::engine
