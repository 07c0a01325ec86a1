// SPDX-License-Identifier: Apache-2.0
#include "eval/vision_score.h"

#include <algorithm>
#include <optional>

namespace fastcache::eval {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\f\v";
constexpr size_t kLetters = 26;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string relaxed(std::string_view text) {
  text = trimmed(text);
  if (text.ends_with('.')) text = trimmed(text.substr(0, text.size() - 1));
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find_first_of(",\n");
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

double share_of_parts(std::string_view wanted, std::string_view answer) {
  const std::vector<std::string_view> right = parts_of(trimmed(wanted)), said = parts_of(trimmed(answer));
  size_t n = 0;
  for (size_t i = 0; i < std::min(right.size(), said.size()); ++i) n += right[i] == said[i] ? 1 : 0;
  // Parts too many count as wrong ones.
  return static_cast<double>(n) / static_cast<double>(std::max(right.size(), said.size()));
}

// "picture 1: red #1; all: 1" -> "1"; all of a text without ':' and ';'.
std::string_view last_statement(std::string_view text) {
  text = trimmed(text);
  const size_t mark = text.find_last_of(":;");
  return mark == std::string_view::npos ? text : trimmed(text.substr(mark + 1));
}

// "B", "(b)", "B. a dog", "B: a dog" -> 1. A word that begins so is none, nor is "A dog" (an article).
std::optional<size_t> leading_letter(std::string_view answer) {
  if (answer.starts_with('(')) answer.remove_prefix(1);
  if (answer.empty()) return std::nullopt;
  const char letter = lower(answer[0]);
  if (letter < 'a' || letter > 'z') return std::nullopt;
  answer.remove_prefix(1);
  constexpr std::string_view kBehindLetter = ".:)\n";  // "A, B or C" and "A/B" choose nothing
  if (!answer.empty() && kBehindLetter.find(answer[0]) == std::string_view::npos) return std::nullopt;
  return static_cast<size_t>(letter - 'a');
}

bool is_choice(const VisionQuestion& question, std::string_view answer) {
  const auto chosen =
      std::find_if(question.choices.begin(), question.choices.end(),
                   [&](const std::string& choice) { return relaxed(choice) == relaxed(answer); });
  if (chosen != question.choices.end()) return relaxed(*chosen) == relaxed(question.answer);
  if (!has_letters(question.choices)) return false;
  const auto letter = leading_letter(trimmed(answer));
  return letter && *letter < question.choices.size() && question.choices[*letter] == question.answer;
}

}  // namespace

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

bool has_letters(const std::vector<std::string>& choices) { return choices.size() <= kLetters; }

char choice_letter(size_t index) { return static_cast<char>('A' + index); }

double score_answer(const VisionQuestion& question, std::string_view answer) {
  switch (question.match) {
    case Match::exact:
      return trimmed(answer) == trimmed(question.answer) ? 1 : 0;
    case Match::relaxed:
      return relaxed(answer) == relaxed(question.answer) ? 1 : 0;
    case Match::parts:
      return share_of_parts(question.answer, answer);
    case Match::choice:
      return is_choice(question, answer) ? 1 : 0;
    case Match::last:
      return last_statement(answer) == last_statement(question.answer) ? 1 : 0;
  }
  return 0;
}

}  // namespace fastcache::eval
