// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_json.h"

#include "eval/vision_figures.h"

namespace fastcache::eval {
namespace {

using Json = nlohmann::json;

Json as_json(const Interval& interval) {  // NaN becomes null
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json as_json(const CategoryFigures& figures) {
  return {{"category", figures.category}, {"n", figures.n}, {"accuracy", as_json(figures.accuracy)}};
}

Json as_json(const VisionOptions& options) {
  return {{"dataset", options.dataset},
          {"data", options.data},
          {"categories", options.categories},
          {"examples", options.examples},
          {"seed", options.seed},
          {"blind", options.blind},
          {"answer_tokens", options.answer_tokens},
          {"concurrency", options.concurrency},
          {"presses", options.presses},
          {"removed", options.removed}};
}

Json as_json(const VisionQuestion& question, const VisionAnswer& answer) {
  Json json{{"source", question.source},     {"category", question.category}, {"before", question.before},
            {"pictures", question.pictures}, {"question", question.question}, {"accepted", question.answer}};
  if (!answer.error.empty()) {
    json["error"] = answer.error;
  } else {
    json["answer"] = answer.text;
    json["score"] = answer.score;
  }
  return json;
}

// [answers]: null where a question failed.
Json scores_of(const VisionResult& result, const VisionPressRow& row) {
  Json scores = Json::array();
  size_t at = 0;
  for (const VisionAnswer& answer : result.answers)
    if (answer.asked) scores.push_back(answer.error.empty() ? Json(row.scores.at(at++)) : Json());
  return scores;
}

Json as_json(const VisionResult& result, const VisionPressRow& row) {
  const VisionPressFigures figures = vision_press_figures(result, row);
  return {{"press", row.press},
          {"simple_baseline", row.simple_baseline},
          {"removed", row.removed},
          {"n", row.scores.size()},
          {"accuracy", as_json(figures.accuracy)},
          {"score_by_question", scores_of(result, row)},
          {"resident_bytes", row.resident.bytes},
          {"resident_of_full", figures.resident.of_full},
          {"nominal_ratio", figures.resident.ratio},
          {"share_on_compressed", figures.resident.on_compressed},
          {"valid", figures.resident.valid}};
}

}  // namespace

nlohmann::json vision_json(const VisionResult& result) {
  const VisionFigures figures = vision_figures(result);
  Json categories = Json::array(), answers = Json::array(), presses = Json::array();
  for (const CategoryFigures& category : figures.categories) categories.push_back(as_json(category));
  for (size_t i = 0; i < result.questions.size(); ++i)
    if (result.answers[i].asked) answers.push_back(as_json(result.questions[i], result.answers[i]));
  for (const VisionPressRow& row : result.presses)
    if (!row.scores.empty()) presses.push_back(as_json(result, row));
  return {{"version", FASTCACHE_VERSION},
          {"model", result.model},
          {"mmproj", result.mmproj},
          {"lora", result.lora},
          {"url", result.url},
          {"seconds", result.seconds},
          {"stopped", result.stopped},
          {"options", as_json(result.options)},
          {"all", as_json(figures.all)},
          {"categories", std::move(categories)},
          {"failed", figures.n_failed},
          {"first_error", figures.first_error},
          {"answers", std::move(answers)},
          {"full_bytes", result.full_bytes},
          {"presses", std::move(presses)}};
}

}  // namespace fastcache::eval
