// SPDX-License-Identifier: Apache-2.0
// What an evaluation on questions about pictures found, question by question; vision_figures.h makes tables
// of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "eval/results.h"
#include "eval/vision_question.h"

namespace fastcache::eval {

// At most; the longest right one of our own datasets, a count over 8 pictures that lists all they show, has
// 133.
constexpr int kAnswerTokens = 224;

struct VisionOptions {
  std::string dataset{};
  std::string data{};                     // folder; empty: the dataset's own place
  std::vector<std::string> categories{};  // empty: all
  int examples = 0;                       // drawn by the seed; 0: all
  uint64_t seed = 1;                      // of that, and of what is random in presses
  bool blind = false;                     // the same questions without the pictures
  int answer_tokens = kAnswerTokens;
  int concurrency = 16;  // requests in flight
  // Compared on compressed caches; {"all"}: the catalogue; empty: nothing is compressed.
  std::vector<std::string> presses{};
  std::vector<double> removed{0.5, 0.8};  // fractions, for the presses
};

// How to ask.
struct AskOptions {
  bool blind = false;
  int answer_tokens = kAnswerTokens;
  int concurrency = 16;
  // Called between questions and several times a second. False: stop, and leave out what is not finished.
  std::function<bool(int done, int of, const std::string& what)> progress{};
};

struct VisionAnswer {
  bool asked = false;   // the answer came to its end, or failed
  std::string error{};  // why there is none
  std::string text{};
  double score = 0;  // 0 to 1
};

// One press at one number of bytes.
struct VisionPressRow {
  std::string press{};
  bool simple_baseline = false;
  double removed = 0;
  std::vector<double> scores{};  // [questions that were asked]
  Resident resident{};           // [the same]
};

struct VisionResult {
  VisionOptions options{};
  std::string model{}, mmproj{}, lora{},
      url{};  // url: of the server that answered; empty: our engine in process
  double seconds = 0;
  bool stopped = false;  // before all questions were asked
  std::vector<VisionQuestion> questions{};
  std::vector<VisionAnswer> answers{};    // [questions], uncompressed
  std::vector<VisionPressRow> presses{};  // by removed, then press
  std::vector<double> full_bytes{};       // [questions that were asked], with presses: uncompressed
};

}  // namespace fastcache::eval
