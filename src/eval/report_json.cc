// SPDX-License-Identifier: Apache-2.0
#include "eval/report_json.h"

#include "eval/figures.h"

namespace fastcache::eval {
namespace {

using Json = nlohmann::json;

Json as_json(const Interval& interval) {  // NaN becomes null
  return {{"value", interval.value}, {"low", interval.low}, {"high", interval.high}};
}

Json as_json(const EvalOptions& options) {
  return {{"presses", options.presses},
          {"removed", options.removed},
          {"seed", options.seed},
          {"data", options.data},
          {"documents", options.documents},
          {"context_tokens", options.context_tokens},
          {"continuation_tokens", options.continuation_tokens},
          {"examples", options.examples},
          {"lengths", options.lengths},
          {"query_aware", options.query_aware},
          {"kv_type", options.kv_type},
          {"chunk_tokens", options.chunk_tokens}};
}

void add_resident(Json& json, const Resident& resident, const ResidentFigures& figures) {
  json["resident_bytes"] = resident.bytes;
  json["resident_of_full"] = figures.of_full;
  json["nominal_ratio"] = figures.ratio;
  json["tokens"] = resident.tokens;
  json["share_on_compressed"] = figures.on_compressed;
  json["valid"] = figures.valid;
}

Json as_json(const TextResult& text, const TextRow& row, uint64_t seed) {
  const TextFigures figures = text_figures(text, row, seed);
  Json json{{"press", row.press},
            {"simple_baseline", row.simple_baseline},
            {"gain_retained", as_json(figures.retained)},
            {"kl", figures.kl},
            {"top1", figures.top1},
            {"perplexity", figures.perplexity},
            {"peak_bytes", row.resident.peak_bytes},
            {"peak_of_full", figures.peak_of_full},
            {"nll", row.nll},
            {"kl_by_document", row.kl},
            {"top1_by_document", row.top1}};
  add_resident(json, row.resident, figures.resident);
  return json;
}

Json as_json(const TextResult& text, uint64_t seed) {
  Json rows = Json::array();
  for (const TextRow& row : text.rows) {
    rows.push_back(as_json(text, row, seed));
    rows.back()["removed"] = row.removed;
  }
  Json json{{"documents", text.documents}, {"n", text.documents.size()}, {"rows", std::move(rows)}};
  if (text.documents.empty()) return json;
  json["target_bytes"] = text.target_bytes;
  json["formats"] = Json::array();
  for (const FormatResult& format : text.formats) {
    Json beside = Json::array();
    for (const TextRow& row : format.rows) beside.push_back(as_json(text, row, seed));
    json["formats"].push_back({{"bits", format.bits}, {"rows", std::move(beside)}});
  }
  json["full"] = {{"perplexity", perplexity(text.full_nll)},
                  {"nll", text.full_nll},
                  {"resident_bytes", text.full_bytes},
                  {"peak_bytes", text.full_peak_bytes}};
  json["window"] = {{"perplexity", perplexity(text.window_nll)},
                    {"nll", text.window_nll},
                    {"kl", text.window_kl},
                    {"top1", text.window_top1}};
  return json;
}

Json as_json(const TaskResult& task, uint64_t seed) {
  Json rows = Json::array();
  for (const TaskRow& row : task.rows) {
    const TaskFigures figures = task_figures(task, row, seed);
    Json json{{"press", row.press},
              {"simple_baseline", row.simple_baseline},
              {"removed", row.removed},
              {"exact", as_json(figures.exact)},
              {"likelihood", as_json(figures.likely)},
              {"exact_by_example", row.exact},
              {"likelihood_by_example", row.likely}};
    add_resident(json, row.resident, figures.resident);
    rows.push_back(std::move(json));
  }
  return {{"task", task.task},
          {"length", task.length},
          {"query_aware", task.query_aware},
          {"n", task.full_exact.size()},
          {"full",
           {{"exact", full_share(task, Measure::exact)}, {"likelihood", full_share(task, Measure::likely)}}},
          {"counted",
           {{"exact", is_counted(task, Measure::exact)}, {"likelihood", is_counted(task, Measure::likely)}}},
          {"rows", std::move(rows)}};
}

}  // namespace

nlohmann::json report_json(const EvalResult& result) {
  Json tasks = Json::array(), averages = Json::array();
  for (const TaskResult& task : result.tasks) tasks.push_back(as_json(task, result.options.seed));
  for (const TaskAverage& average : task_averages(result))
    averages.push_back({{"press", average.press},
                        {"removed", average.removed},
                        {"n", average.n},
                        {"share", as_json(average.share)}});
  return {{"version", FASTCACHE_VERSION},
          {"model", result.model},
          {"cpu", result.cpu},
          {"isa", result.isa},
          {"threads", result.threads},
          {"seconds", result.seconds},
          {"complete", is_complete(result)},
          {"how_far", how_far(result)},
          {"options", as_json(result.options)},
          {"text", as_json(result.text, result.options.seed)},
          {"tasks", std::move(tasks)},
          {"task_averages", std::move(averages)}};
}

}  // namespace fastcache::eval
