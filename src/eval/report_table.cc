// SPDX-License-Identifier: Apache-2.0
#include "eval/report_table.h"

#include <algorithm>
#include <cmath>

#include "base/log.h"
#include "eval/figures.h"
#include "eval/table.h"
#include "eval/text_quality.h"

namespace fastcache::eval {
namespace {

std::string percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.0f}", 100 * share); }

std::string with_interval(const Interval& interval) {
  if (std::isnan(interval.low)) return percent(interval.value);
  return fmt::format("{} [{}, {}]", percent(interval.value), percent(interval.low), percent(interval.high));
}

std::string press_name(const std::string& press, bool simple_baseline) {
  return simple_baseline ? press + " *" : press;
}

// What a matrix of methods and fractions is made of.
struct Cell {
  std::string press;
  bool simple_baseline = false;
  double removed = 0;
  Interval share{};
  ResidentFigures resident{};
};

// Methods in order of their mean over the fractions, best first.
std::vector<std::string> ordered_presses(const std::vector<Cell>& cells) {
  std::vector<std::pair<double, std::string>> sums;
  for (const Cell& cell : cells) {
    const auto at =
        std::find_if(sums.begin(), sums.end(), [&](const auto& s) { return s.second == cell.press; });
    if (at == sums.end())
      sums.emplace_back(cell.share.value, cell.press);
    else
      at->first += cell.share.value;
  }
  std::stable_sort(sums.begin(), sums.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<std::string> presses;
  for (const auto& [value, press] : sums) presses.push_back(press);
  return presses;
}

Table matrix(const std::vector<Cell>& cells, const std::vector<double>& removed) {
  Table table{.head = {"press"}};
  for (const double fraction : removed) table.head.push_back(fmt::format("{:g} %", 100 * fraction));
  table.head.emplace_back("on compressed");
  for (const std::string& press : ordered_presses(cells)) {
    std::vector<std::string>& row = table.rows.emplace_back();
    double least = 1.0;
    for (const Cell& cell : cells) {
      if (cell.press != press) continue;
      if (row.empty()) row.push_back(press_name(press, cell.simple_baseline));
      row.push_back(cell.resident.valid ? with_interval(cell.share) : "invalid");
      least = std::min(least, cell.resident.on_compressed);
    }
    row.push_back(fmt::format("{} %", percent(least)));
  }
  return table;
}

// How equal the bytes were, and the best of the simple baselines.
std::vector<std::string> matrix_notes(const std::vector<Cell>& cells, const std::vector<double>& removed) {
  double most = 0;
  std::string which = "none";
  std::vector<std::string> best;
  for (const double fraction : removed) {
    const auto at = [&](const Cell& cell) { return cell.removed == fraction; };
    const auto even = std::find_if(cells.begin(), cells.end(), at);  // random comes first
    const Cell* strongest = nullptr;
    for (const Cell& cell : cells) {
      if (!at(cell)) continue;
      const double off = std::abs(cell.resident.of_full / even->resident.of_full - 1.0);
      if (off > most) {
        most = off;
        which = fmt::format("{} at {:g} %", cell.press, 100 * fraction);
      }
      if (cell.simple_baseline && (strongest == nullptr || cell.share.value > strongest->share.value))
        strongest = &cell;
    }
    best.push_back(fmt::format("{} ({})", strongest->press, percent(strongest->share.value)));
  }
  return {fmt::format("Bytes held differ from random's by at most {:.1f} % ({}).", 100 * most, which),
          fmt::format("Strongest simple baseline (*) by fraction: {}.", fmt::join(best, ", "))};
}

Table details_table() {
  return {.head = {"press", "bytes, % of full", "peak, % of full", "asked ratio", "gain retained, %", "KL",
                   "top-1, %", "perplexity", "on compressed"}};
}

std::vector<std::string> details_row(const TextResult& text, const TextRow& row, uint64_t seed) {
  const TextFigures f = text_figures(text, row, seed);
  return {press_name(row.press, row.simple_baseline),
          fmt::format("{:.2f}", 100 * f.resident.of_full),
          fmt::format("{:.2f}", 100 * f.peak_of_full),
          fmt::format("{:.3f}", f.resident.ratio),
          with_interval(f.retained),
          fmt::format("{:.3f}", f.kl),
          fmt::format("{:.1f}", 100 * f.top1),
          fmt::format("{:.2f}", f.perplexity),
          fmt::format("{} %{}", percent(f.resident.on_compressed), f.resident.valid ? "" : ", invalid")};
}

void add_text(const TextResult& text, const EvalOptions& options, std::vector<Section>& sections) {
  std::vector<Cell> cells;
  for (const TextRow& row : text.rows) {
    const TextFigures figures = text_figures(text, row, options.seed);
    cells.push_back({row.press, row.simple_baseline, row.removed, figures.retained, figures.resident});
  }
  Section gain{.title = "Context gain retained, % [95 % interval], by fraction removed",
               .notes = matrix_notes(cells, options.removed),
               .table = matrix(cells, options.removed)};
  const double full = std::log(perplexity(text.full_nll)), window = std::log(perplexity(text.window_nll));
  gain.notes.insert(
      gain.notes.begin(),
      fmt::format("{} documents; {} tokens read and compressed, then {} tokens as the document goes on. Full "
                  "cache: perplexity {:.2f}. First {} and last {} rows only: {:.2f}. 100 % are {:.3f} nats a "
                  "token.",
                  text.documents.size(), options.context_tokens, options.continuation_tokens,
                  perplexity(text.full_nll), kWindowFirst, kWindowLast, perplexity(text.window_nll),
                  window - full));
  sections.push_back(std::move(gain));
  for (const double removed : options.removed) {
    Section detail{.title = fmt::format("Text, {:g} % removed", 100 * removed), .table = details_table()};
    for (const TextRow& row : text.rows)
      if (row.removed == removed) detail.table.rows.push_back(details_row(text, row, options.seed));
    sections.push_back(std::move(detail));
  }
  for (const FormatResult& format : text.formats) {
    Section detail{
        .title = fmt::format("Text, {} bits an element, and fewer rows at the same bytes", format.bits),
        .table = details_table()};
    for (const TextRow& row : format.rows) detail.table.rows.push_back(details_row(text, row, options.seed));
    sections.push_back(std::move(detail));
  }
}

void add_task(const TaskResult& task, Measure measure, const EvalOptions& options,
              std::vector<Section>& sections) {
  const double full = full_share(task, measure);
  Section section{.title =
                      fmt::format("{}, {} tokens, by {}{}", task.task, task.length, measure_name(measure),
                                  task.query_aware ? ", question known before (--query-aware)" : "")};
  if (!is_counted(task, measure)) {
    section.notes.push_back(fmt::format("not counted: the model itself reaches {} % (n = {})", percent(full),
                                        task.full_exact.size()));
    sections.push_back(std::move(section));
    return;
  }
  std::vector<Cell> cells;
  for (const TaskRow& row : task.rows) {
    const TaskFigures figures = task_figures(task, row, options.seed);
    cells.push_back({row.press, row.simple_baseline, row.removed,
                     measure == Measure::exact ? figures.exact : figures.likely, figures.resident});
  }
  section.notes = matrix_notes(cells, options.removed);
  section.notes.insert(section.notes.begin(), fmt::format("% right [95 % interval], n = {}; full cache {} %.",
                                                          task.full_exact.size(), percent(full)));
  section.table = matrix(cells, options.removed);
  sections.push_back(std::move(section));
}

void add_averages(const EvalResult& result, std::vector<Section>& sections) {
  const std::vector<TaskAverage> averages = task_averages(result);
  if (averages.empty()) return;
  std::vector<Cell> cells;
  for (const TaskAverage& average : averages) {
    Cell cell{.press = average.press, .removed = average.removed, .share = average.share};
    cell.resident = {.on_compressed = 1.0, .valid = true};  // each row of its own says it
    cells.push_back(cell);
  }
  Table table = matrix(cells, result.options.removed);
  table.head.pop_back();
  for (auto& row : table.rows) row.pop_back();
  sections.push_back({.title = "All counted tasks, question after the compression, % right [95 % interval]",
                      .notes = {fmt::format("n = {}: examples of the tasks above, once for each measure that "
                                            "counts.",
                                            averages.front().n)},
                      .table = std::move(table)});
}

std::vector<Section> sections_of(const EvalResult& result) {
  std::vector<Section> sections;
  sections.push_back({.title = fmt::format("Quality of compressed caches: {}", result.model),
                      .notes = {fmt::format("{}, {} threads, {}; K and V in {}; seed {}; {:.0f} s",
                                            result.cpu, result.threads, result.isa, result.options.kv_type,
                                            result.options.seed, result.seconds)}});
  if (!is_complete(result))
    sections.back().notes.push_back(fmt::format("Stopped before the end: {}.", how_far(result)));
  if (!result.text.documents.empty()) add_text(result.text, result.options, sections);
  for (const TaskResult& task : result.tasks)
    for (const Measure measure : {Measure::exact, Measure::likely})
      add_task(task, measure, result.options, sections);
  add_averages(result, sections);
  return sections;
}

}  // namespace

std::string report_table(const EvalResult& result) { return as_text(sections_of(result)); }
std::string report_markdown(const EvalResult& result) { return as_markdown(sections_of(result)); }

}  // namespace fastcache::eval
