// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_table.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "eval/table.h"
#include "eval/vision_figures.h"
#include "model/utf8.h"

namespace fastcache::eval {
namespace {

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.1f}", 100 * share); }

std::string with_interval(const Interval& interval) {
  if (std::isnan(interval.low)) return percent(interval.value);
  return fmt::format("{} [{}, {}]", percent(interval.value), percent(interval.low), percent(interval.high));
}

std::vector<std::string> notes_of(const VisionResult& result, const VisionFigures& figures) {
  const VisionOptions& options = result.options;
  std::vector<std::string> notes{
      fmt::format("{}{}; {} of {} questions answered{} (seed {}), greedy, at most {} tokens; {:.0f} s.",
                  model::displayable(result.model), result.url.empty() ? "" : " at " + result.url,
                  figures.all.n, result.questions.size(), options.blind ? ", without the pictures" : "",
                  options.seed, options.answer_tokens, result.seconds)};
  if (figures.n_failed > 0)
    notes.push_back(fmt::format("{} failed and are not counted; the first: {}", figures.n_failed,
                                model::displayable(figures.first_error)));
  if (figures.n_left > 0) notes.push_back(fmt::format("{} were not asked: stopped.", figures.n_left));
  return notes;
}

Section accuracy_section(const VisionResult& result) {
  const VisionFigures figures = vision_figures(result);
  Section section{.title = fmt::format("{}: accuracy, % [95 % interval]", result.options.dataset),
                  .notes = notes_of(result, figures),
                  .table = {.head = {"category", "questions", "accuracy"}}};
  const auto add = [&](const CategoryFigures& row) {
    section.table.rows.push_back(
        {model::displayable(row.category), std::to_string(row.n), with_interval(row.accuracy)});
  };
  for (const CategoryFigures& category : figures.categories) add(category);
  add(figures.all);
  return section;
}

Section press_section(const VisionResult& result) {
  Section section{
      .title = "Compressed before the question: accuracy, % [95 % interval]",
      .notes = {"The prompt up to the last picture is read and compressed, then the question is read and "
                "answered on what is left. * simple baseline."},
      .table = {.head = {"press", "removed, %", "bytes, % of full", "asked ratio", "accuracy",
                         "on compressed, %"}}};
  for (const VisionPressRow& row : result.presses) {
    if (row.scores.empty()) continue;
    const VisionPressFigures figures = vision_press_figures(result, row);
    section.table.rows.push_back(
        {row.simple_baseline ? row.press + " *" : row.press, fmt::format("{:g}", 100 * row.removed),
         fmt::format("{:.1f}", 100 * figures.resident.of_full), fmt::format("{:.3f}", figures.resident.ratio),
         with_interval(figures.accuracy),
         percent(figures.resident.on_compressed) + (figures.resident.valid ? "" : ", invalid")});
  }
  return section;
}

std::vector<Section> sections_of(const VisionResult& result) {
  std::vector<Section> sections{accuracy_section(result)};
  if (!result.presses.empty()) sections.push_back(press_section(result));
  return sections;
}

}  // namespace

std::string vision_table(const VisionResult& result) { return as_text(sections_of(result)); }
std::string vision_markdown(const VisionResult& result) { return as_markdown(sections_of(result)); }

}  // namespace fastcache::eval
