// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_figures.h"

#include <map>

#include "base/log.h"

namespace fastcache::eval {
namespace {

CategoryFigures figures_of(const std::string& category, const std::vector<double>& scores, uint64_t seed) {
  return {.category = category, .n = static_cast<int>(scores.size()), .accuracy = mean(scores, seed)};
}

}  // namespace

VisionFigures vision_figures(const VisionResult& result) {
  VisionFigures figures;
  std::vector<double> all;
  std::map<std::string, std::vector<double>> by_category;
  for (size_t i = 0; i < result.questions.size(); ++i) {
    const VisionAnswer& answer = result.answers[i];
    std::vector<double>& scores = by_category[result.questions[i].category];
    if (!answer.asked) {
      ++figures.n_left;
    } else if (!answer.error.empty()) {
      if (figures.n_failed++ == 0)
        figures.first_error = fmt::format("{}: {}", result.questions[i].source, answer.error);
    } else {
      scores.push_back(answer.score);
      all.push_back(answer.score);
    }
  }
  const uint64_t seed = result.options.seed;
  for (const auto& [category, scores] : by_category)
    figures.categories.push_back(figures_of(category, scores, seed));
  figures.all = figures_of("all", all, seed);
  return figures;
}

VisionPressFigures vision_press_figures(const VisionResult& result, const VisionPressRow& row) {
  return {.accuracy = mean(row.scores, result.options.seed),
          .resident = resident_figures(row.resident, result.full_bytes)};
}

}  // namespace fastcache::eval
