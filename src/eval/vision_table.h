// SPDX-License-Identifier: Apache-2.0
// An evaluation on questions about pictures as text for a terminal, and as Markdown. Pure functions.
#pragma once

#include <string>

#include "eval/vision_results.h"

namespace fastcache::eval {

std::string vision_table(const VisionResult& result);
std::string vision_markdown(const VisionResult& result);

}  // namespace fastcache::eval
