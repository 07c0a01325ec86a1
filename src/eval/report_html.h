// SPDX-License-Identifier: Apache-2.0
// An evaluation as one page that opens without a network: quality over memory, and all figures. Thread-safe.
#pragma once

#include <string>

#include "eval/results.h"

namespace fastcache::eval {

// chart_js: the text of Chart.js, which draws the curves then; empty: the page draws them itself, plainer.
std::string report_html(const EvalResult& result, const std::string& chart_js);

// path: a file to take. Empty: where systems install Chart.js, and an empty text if it is nowhere. Throws
// Error (not_found) for a path that cannot be read.
std::string read_chart_js(const std::string& path);

}  // namespace fastcache::eval
