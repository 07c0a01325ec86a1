// SPDX-License-Identifier: Apache-2.0
// Accuracy with its intervals, from the answers to questions about pictures. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "eval/figures.h"
#include "eval/interval.h"
#include "eval/vision_results.h"

namespace fastcache::eval {

struct CategoryFigures {
  std::string category{};
  int n = 0;            // questions that were answered
  Interval accuracy{};  // drawn with replacement: questions with their pictures; NaN where none was answered
};

struct VisionFigures {
  CategoryFigures all{};
  std::vector<CategoryFigures> categories{};  // by name
  int n_failed = 0;                           // counted nowhere else
  int n_left = 0;                             // not asked any more
  std::string first_error{};                  // of the failed ones, with the question it stands at
};
VisionFigures vision_figures(const VisionResult& result);

struct VisionPressFigures {
  Interval accuracy{};
  ResidentFigures resident{};
};
VisionPressFigures vision_press_figures(const VisionResult& result, const VisionPressRow& row);

}  // namespace fastcache::eval
