// SPDX-License-Identifier: Apache-2.0
#include "eval/figures.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/log.h"

namespace fastcache::eval {
namespace {

double sum(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }
double mean_of(const std::vector<double>& values) { return sum(values) / static_cast<double>(values.size()); }

}  // namespace

ResidentFigures resident_figures(const Resident& resident, const std::vector<double>& full_bytes) {
  ResidentFigures figures{.of_full = sum(resident.bytes) / sum(full_bytes),
                          .ratio = mean_of(resident.ratios),
                          .on_compressed = static_cast<double>(resident.tokens_on_compressed) /
                                           static_cast<double>(std::max(resident.tokens, 1))};
  figures.valid = figures.on_compressed >= kLeastCompressed;
  return figures;
}

double perplexity(const std::vector<double>& nll) { return std::exp(mean_of(nll)); }

TextFigures text_figures(const TextResult& text, const TextRow& row, uint64_t seed) {
  std::vector<double> kept, gain;  // [documents], nats per token
  for (size_t i = 0; i < row.nll.size(); ++i) {
    kept.push_back(text.window_nll[i] - row.nll[i]);
    gain.push_back(text.window_nll[i] - text.full_nll[i]);
  }
  return {.retained = ratio_of_sums(kept, gain, seed),
          .kl = mean_of(row.kl),
          .top1 = mean_of(row.top1),
          .perplexity = perplexity(row.nll),
          .peak_of_full = sum(row.resident.peak_bytes) / sum(text.full_peak_bytes),
          .resident = resident_figures(row.resident, text.full_bytes)};
}

TaskFigures task_figures(const TaskResult& task, const TaskRow& row, uint64_t seed) {
  return {.exact = mean(row.exact, seed),
          .likely = mean(row.likely, seed),
          .resident = resident_figures(row.resident, task.full_bytes)};
}

const char* measure_name(Measure measure) { return measure == Measure::exact ? "exact" : "likelihood"; }

double full_share(const TaskResult& task, Measure measure) {
  return mean_of(measure == Measure::exact ? task.full_exact : task.full_likely);
}

bool is_counted(const TaskResult& task, Measure measure) { return full_share(task, measure) >= kLeastFull; }

bool is_complete(const EvalResult& result) {
  return static_cast<int>(result.text.documents.size()) == result.n_documents &&
         static_cast<int>(result.tasks.size()) == result.n_tasks &&
         (result.tasks.empty() ||
          static_cast<int>(result.tasks.back().full_exact.size()) == result.options.examples);
}

std::string how_far(const EvalResult& result) {
  std::vector<std::string> parts;
  if (result.n_documents > 0)
    parts.push_back(fmt::format("{} of {} documents", result.text.documents.size(), result.n_documents));
  if (result.n_tasks > 0) parts.push_back(fmt::format("{} of {} tasks", result.tasks.size(), result.n_tasks));
  if (!result.tasks.empty())
    parts.push_back(fmt::format("the last with {} of {} examples", result.tasks.back().full_exact.size(),
                                result.options.examples));
  return fmt::format("{}", fmt::join(parts, ", "));
}

std::vector<TaskAverage> task_averages(const EvalResult& result) {
  std::vector<TaskAverage> averages;
  std::vector<std::vector<double>> samples;
  for (const TaskResult& task : result.tasks) {
    if (task.query_aware) continue;
    for (size_t i = 0; i < task.rows.size(); ++i) {
      if (i == averages.size()) {
        averages.push_back({.press = task.rows[i].press, .removed = task.rows[i].removed});
        samples.emplace_back();
      }
      const TaskRow& row = task.rows[i];
      if (is_counted(task, Measure::exact))
        samples[i].insert(samples[i].end(), row.exact.begin(), row.exact.end());
      if (is_counted(task, Measure::likely))
        samples[i].insert(samples[i].end(), row.likely.begin(), row.likely.end());
    }
  }
  for (size_t i = 0; i < averages.size(); ++i) {
    averages[i].n = static_cast<int>(samples[i].size());
    averages[i].share = mean(samples[i], result.options.seed);
  }
  return averages;
}

}  // namespace fastcache::eval
