// SPDX-License-Identifier: Apache-2.0
// What an evaluation found, sample by sample; figures.h makes tables of it.
#pragma once

#include <string>
#include <vector>

namespace fastcache::eval {

// The uncompressed model must get that much of a task right, else a measure is not counted.
constexpr double kLeastFull = 0.6;

struct EvalOptions {
  std::vector<std::string> presses{};  // empty: the catalogue
  std::vector<double> removed{0.25, 0.5, 0.75, 0.8, 0.9};
  uint64_t seed = 1;
  std::string data{};  // empty: the system's documents
  // --- text
  int documents = 12;  // 0: no text
  int context_tokens = 2048;
  int continuation_tokens = 512;
  // --- tasks
  int examples = 16;  // of each task and length; 0: no tasks
  std::vector<int> lengths{2048, 4096, 8192};
  bool query_aware = false;        // also with the question in front of the compression
  double least_full = kLeastFull;  // in one of both measures, else compressed caches are not tried
  // --- the engine
  std::string kv_type = "bf16";
  int chunk_tokens = 512;
};

struct Score;       // score.h
struct Compressed;  // workbench.h

// How much of a method's cache there was, sample by sample.
struct Resident {
  std::vector<double> bytes{};       // by the pool's account, right after the compression
  std::vector<double> peak_bytes{};  // of texts: the most while the text went on
  std::vector<double> ratios{};      // that the press was asked for, to come to the bytes of the others
  int tokens = 0;                    // scored or generated
  int tokens_on_compressed = 0;      // of them on a cache that lacks rows or bits

  void add(const Compressed& cache, int n_tokens, int n_on_compressed);  // of one more sample
};

// One method at one number of bytes.
struct TextRow {
  std::string press;
  bool simple_baseline = false;
  double removed = 0;
  std::vector<double> nll{}, kl{}, top1{};  // [documents], means over the continuation
  Resident resident{};

  void add(const Compressed& cache, const Score& found);  // of one more document
};

// A cache with fewer bits an element, and methods that remove rows at the bytes it holds.
struct FormatResult {
  int bits = 0;
  std::vector<TextRow> rows{};  // the format's first; `removed` says nothing here
};

struct TextResult {
  std::vector<std::string> documents{};
  std::vector<double> full_nll{}, window_nll{};     // [documents]: all rows; only the first 4 and last 128
  std::vector<double> window_kl{}, window_top1{};   // [documents]
  std::vector<double> full_bytes{};                 // [documents]
  std::vector<double> full_peak_bytes{};            // [documents]: behind the continuation
  std::vector<std::vector<double>> target_bytes{};  // [removed][documents]: of an even budget
  std::vector<TextRow> rows{};                      // by removed, then method
  std::vector<FormatResult> formats{};              // empty where only named presses were asked for
};

struct TaskRow {
  std::string press;
  bool simple_baseline = false;
  double removed = 0;
  std::vector<double> exact{}, likely{};  // [examples], share of the right values
  Resident resident{};
};

struct TaskResult {  // one task at one length
  std::string task;
  int length = 0;
  bool query_aware = false;
  std::vector<double> full_exact{}, full_likely{};  // [examples], of the uncompressed model
  std::vector<double> full_bytes{};                 // [examples]
  std::vector<TaskRow> rows{};                      // empty where neither measure is counted
};

// At least that share of tokens must come from the compressed cache, else a row is invalid.
constexpr double kLeastCompressed = 0.9;

struct EvalResult {
  EvalOptions options{};
  std::string model{}, cpu{}, isa{};
  int threads = 0;
  double seconds = 0;
  int n_documents = 0, n_tasks = 0;  // that were to be measured; fewer below: it was stopped
  TextResult text{};
  std::vector<TaskResult> tasks{};
};

}  // namespace fastcache::eval
