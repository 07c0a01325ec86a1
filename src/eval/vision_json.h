// SPDX-License-Identifier: Apache-2.0
// An evaluation on questions about pictures as JSON: figures, and every answer. Pure function.
#pragma once

#include <nlohmann/json.hpp>

#include "eval/vision_results.h"

namespace fastcache::eval {

nlohmann::json vision_json(const VisionResult& result);

}  // namespace fastcache::eval
