// SPDX-License-Identifier: Apache-2.0
// An evaluation on questions about pictures as one page that opens without a network: accuracy, quality over
// memory, and wrong answers with their pictures. Thread-safe.
#pragma once

#include <cstddef>
#include <string>

#include "eval/vision_results.h"

namespace fastcache::eval {

struct PageLimits {
  size_t answers = 200;                     // wrong ones that are shown
  size_t picture_bytes = size_t{48} << 20;  // of files; pictures beyond are left out
};

// chart_js: as report_html() takes it. Reads the files of the pictures that are shown; where one cannot be
// read, the page says so.
std::string vision_html(const VisionResult& result, const std::string& chart_js,
                        const PageLimits& limits = {});

}  // namespace fastcache::eval
