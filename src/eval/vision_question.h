// SPDX-License-Identifier: Apache-2.0
// A question about pictures as every dataset becomes one. Plain values.
#pragma once

#include <string>
#include <vector>

namespace fastcache::eval {

// How an answer is compared (vision_score.h).
enum class Match {
  exact,    // equal once trimmed
  relaxed,  // also without regard to case and a full stop at the end
  parts,    // share of the answer's parts, between commas and line ends, that are right at their place
  choice,   // the right one of `choices`, by letter or by text
  last,     // equal behind the last ':' or ';': facts may be said before what follows from them
};

struct VisionQuestion {
  std::string source{};    // "grid/questions.jsonl, line 3": for whoever looks it up
  std::string category{};  // accuracy is counted for each
  // The user's message: before[i], then pictures[i], for each picture; then the question.
  std::vector<std::string> before{};    // [pictures], may be empty texts
  std::vector<std::string> pictures{};  // paths
  std::string question{};               // all that comes behind the last picture
  std::string answer{};                 // accepted
  std::vector<std::string> choices{};   // for Match::choice
  Match match = Match::exact;
};

}  // namespace fastcache::eval
