// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_figures.h"

#include <map>

#include "base/log.h"
#include "eval/vision_prompt.h"

namespace fastcache::eval {
namespace {

struct Scores {
  std::vector<double> values{};
  std::vector<size_t> groups{};  // [values]: questions about the same pictures are no independent samples

  void add(double value, size_t group) {
    values.push_back(value);
    groups.push_back(group);
  }
};

CategoryFigures figures_of(const std::string& category, const Scores& scores, uint64_t seed) {
  return {.category = category,
          .n = static_cast<int>(scores.values.size()),
          .accuracy = mean_of_groups(scores.values, scores.groups, seed)};
}

// [questions]
std::vector<size_t> groups_of(const std::vector<VisionQuestion>& questions) {
  std::vector<size_t> groups;
  for (size_t i = 0; i < questions.size(); ++i)
    groups.push_back(i > 0 && same_pictures(questions[i - 1], questions[i]) ? groups.back() : i);
  return groups;
}

}  // namespace

VisionFigures vision_figures(const VisionResult& result) {
  VisionFigures figures;
  const std::vector<size_t> groups = groups_of(result.questions);
  Scores all;
  std::map<std::string, Scores> by_category;
  for (size_t i = 0; i < result.questions.size(); ++i) {
    const VisionAnswer& answer = result.answers[i];
    Scores& scores = by_category[result.questions[i].category];
    if (!answer.asked) {
      ++figures.n_left;
    } else if (!answer.error.empty()) {
      if (figures.n_failed++ == 0)
        figures.first_error = fmt::format("{}: {}", result.questions[i].source, answer.error);
    } else {
      scores.add(answer.score, groups[i]);
      all.add(answer.score, groups[i]);
    }
  }
  const uint64_t seed = result.options.seed;
  for (const auto& [category, scores] : by_category)
    figures.categories.push_back(figures_of(category, scores, seed));
  figures.all = figures_of("all", all, seed);
  return figures;
}

VisionPressFigures vision_press_figures(const VisionResult& result, const VisionPressRow& row) {
  const std::vector<size_t> all = groups_of(result.questions);
  std::vector<size_t> groups;
  for (size_t i = 0; i < all.size(); ++i)
    if (result.answers[i].asked && result.answers[i].error.empty()) groups.push_back(all[i]);
  return {.accuracy = mean_of_groups(row.scores, groups, result.options.seed),
          .resident = resident_figures(row.resident, result.full_bytes)};
}

}  // namespace fastcache::eval
