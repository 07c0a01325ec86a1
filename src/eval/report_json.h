// SPDX-License-Identifier: Apache-2.0
// An evaluation as JSON: figures, and what was measured sample by sample. Pure function.
#pragma once

#include <nlohmann/json.hpp>

#include "eval/results.h"

namespace fastcache::eval {

nlohmann::json report_json(const EvalResult& result);

}  // namespace fastcache::eval
