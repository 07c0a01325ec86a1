// SPDX-License-Identifier: Apache-2.0
// An evaluation as text for a terminal, and as Markdown for a document. Pure functions.
#pragma once

#include <string>

#include "eval/results.h"

namespace fastcache::eval {

std::string report_table(const EvalResult& result);
std::string report_markdown(const EvalResult& result);

}  // namespace fastcache::eval
