// SPDX-License-Identifier: Apache-2.0
// Tasks whose answer stands somewhere in a long text: numbers that are asked for by a word. Pure functions:
// the same seed makes the same task.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eval/texts.h"
#include "eval/workbench.h"

namespace fastcache::eval {

enum class TaskKind {
  needle,       // one number in the text
  multi_key,    // several words with a number each; one of them is asked for
  multi_value,  // one word with several numbers; all are asked for
};
const char* task_name(TaskKind kind);

struct Task {
  Tokens context{};   // the text with the numbers in it
  Tokens question{};  // what is asked
  Tokens lead{};      // the beginning of the answer, fed behind the question: the answer's numbers come next
  std::vector<std::string> values{};  // right ones, digits
  std::vector<Tokens> right{};        // [values], as the answer would go on
  std::vector<Tokens> wrong{};        // distractors of the same form: other numbers, first those in the text
  int answer_tokens = 0;              // to generate
};

constexpr int kWrongValues = 7;

// filler: at least one token in all of them together; length: tokens of context, question and answer
// together. Throws Error (bad_request) where it is too short for what must stand in it.
Task make_task(TaskKind kind, int length, std::span<const TokenText> filler, const model::Vocab& vocab,
               uint64_t seed);

// Share of the values that stand in the answer as whole numbers.
double share_found(const std::vector<std::string>& values, const std::string& answer);

}  // namespace fastcache::eval
