// SPDX-License-Identifier: Apache-2.0
// Questions about pictures put to an OpenAI-compatible server.
#pragma once

#include <span>
#include <vector>

#include "bench/http_load.h"
#include "eval/vision_results.h"

namespace fastcache::cli {

// Greedy, as chat completions with the pictures as data URLs. model: as the server names it. [questions]: as
// eval::ask_engine() returns them; what the server refuses is the answer's error. Throws Error (io).
std::vector<eval::VisionAnswer> ask_server(const bench::LoadServer& server, const std::string& model,
                                           std::span<const eval::VisionQuestion> questions,
                                           const eval::AskOptions& options);

}  // namespace fastcache::cli
