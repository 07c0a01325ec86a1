// SPDX-License-Identifier: Apache-2.0
// Questions about pictures put to our engine, many at once. Owner: one thread.
#pragma once

#include <span>
#include <vector>

#include "eval/vision_results.h"
#include "fastcache/engine.h"

namespace fastcache::eval {

// Greedy, through the model's chat template. [questions]: where a question fails (a picture that cannot be
// decoded, a prompt beyond the context), its answer says why. Those in flight when it is stopped are given up
// and count as not asked.
std::vector<VisionAnswer> ask_engine(Engine& engine, std::span<const VisionQuestion> questions,
                                     const AskOptions& options);

}  // namespace fastcache::eval
