// SPDX-License-Identifier: Apache-2.0
// Figures of an evaluation with their intervals, from what was measured sample by sample. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "eval/interval.h"
#include "eval/results.h"

namespace fastcache::eval {

struct ResidentFigures {
  double of_full = 0;        // bytes held, of the uncompressed cache's
  double ratio = 0;          // mean of what the presses were asked for
  double on_compressed = 0;  // share of the tokens from a cache that lacks rows or bits
  bool valid = false;        // that share is at least kLeastCompressed
};
// full_bytes: [samples], of the uncompressed caches.
ResidentFigures resident_figures(const Resident& resident, const std::vector<double>& full_bytes);

struct TextFigures {
  // 1 - (nll - full nll) / (window nll - full nll): 1 is the full cache, 0 the first 4 and last 128 rows.
  Interval retained;
  double kl = 0, top1 = 0, perplexity = 0;
  double peak_of_full = 0;  // the most bytes held while the text went on, of what all rows hold at its end
  ResidentFigures resident;
};

TextFigures text_figures(const TextResult& text, const TextRow& row, uint64_t seed);

double perplexity(const std::vector<double>& nll);

struct TaskFigures {
  Interval exact, likely;
  ResidentFigures resident;
};

TaskFigures task_figures(const TaskResult& task, const TaskRow& row, uint64_t seed);

enum class Measure { exact, likely };
const char* measure_name(Measure measure);
double full_share(const TaskResult& task, Measure measure);  // of the uncompressed model
bool is_counted(const TaskResult& task, Measure measure);

// "2 of 12 documents, 1 of 9 tasks, the last with 3 of 16 examples", without the kinds that were not wanted.
std::string how_far(const EvalResult& result);
bool is_complete(const EvalResult& result);

// Of one method at one fraction: the mean over all examples of all counted tasks, question after the
// compression.
struct TaskAverage {
  std::string press;
  double removed = 0;
  int n = 0;  // examples, each counted once for each measure that counts
  Interval share{};
};
std::vector<TaskAverage> task_averages(const EvalResult& result);

}  // namespace fastcache::eval
