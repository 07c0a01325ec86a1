// SPDX-License-Identifier: Apache-2.0
#include "eval/retrieval.h"

#include <algorithm>
#include <array>
#include <random>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::eval {
namespace {

constexpr int kKeys = 4;    // of multi_key
constexpr int kValues = 2;  // of multi_value
constexpr int kDigits = 5;
constexpr const char* kIntro = "Some special numbers are hidden in the following text. Remember them.\n\n";
constexpr size_t kPieceTokens = 700;  // of one text before the next

constexpr std::array kWords{"river",  "garden", "window", "planet", "camera", "bridge", "forest", "castle",
                            "violin", "harbor", "island", "market", "engine", "candle", "mirror", "pepper",
                            "rocket", "silver", "temple", "tunnel", "velvet", "wagon",  "yellow", "zebra",
                            "anchor", "basket", "copper", "desert", "eagle",  "falcon", "guitar", "hammer"};

using Random = std::mt19937_64;

std::string draw_number(Random& random) {
  std::string digits(1, static_cast<char>('1' + random() % 9));
  while (digits.size() < kDigits) digits += static_cast<char>('0' + random() % 10);
  return digits;
}

std::vector<std::string> draw_numbers(int n, Random& random) {
  std::vector<std::string> numbers;
  while (static_cast<int>(numbers.size()) < n) {
    std::string number = draw_number(random);
    if (std::find(numbers.begin(), numbers.end(), number) == numbers.end())
      numbers.push_back(std::move(number));
  }
  return numbers;
}

std::vector<std::string> draw_words(int n, Random& random) {
  std::vector<std::string> words(kWords.begin(), kWords.end());
  for (int i = 0; i < n; ++i) {
    const size_t at = static_cast<size_t>(i);
    std::swap(words[at], words[at + random() % (words.size() - at)]);
  }
  words.resize(static_cast<size_t>(n));
  return words;
}

// n tokens, in pieces of several texts.
Tokens draw_filler(std::span<const TokenText> texts, size_t n, Random& random) {
  Tokens filler;
  while (filler.size() < n) {
    const Tokens& text = texts[random() % texts.size()].tokens;
    if (text.empty()) continue;
    const size_t begin = random() % text.size();
    const size_t length = std::min({kPieceTokens, text.size() - begin, n - filler.size()});
    filler.insert(filler.end(), text.begin() + static_cast<std::ptrdiff_t>(begin),
                  text.begin() + static_cast<std::ptrdiff_t>(begin + length));
  }
  return filler;
}

std::string statement(TaskKind kind, const std::string& word, const std::string& number) {
  return kind == TaskKind::multi_value
             ? fmt::format("\nOne of the special numbers for {} is {}.\n", word, number)
             : fmt::format("\nThe special number for {} is {}.\n", word, number);
}

// A line end in front of which a statement can stand; anywhere, if none is near.
size_t line_end_near(const Tokens& text, size_t at, const model::Vocab& vocab) {
  for (size_t i = at; i < std::min(text.size(), at + 40); ++i)
    if (vocab.piece(text[i]).ends_with('\n')) return i + 1;
  return at;
}

// The statements, each at a random place, in random order.
Tokens with_statements(const Tokens& filler, std::vector<Tokens> statements, const model::Vocab& vocab,
                       Random& random) {
  std::vector<size_t> places;
  for (size_t i = 0; i < statements.size(); ++i) {
    std::swap(statements[i], statements[i + random() % (statements.size() - i)]);
    places.push_back(line_end_near(filler, random() % filler.size(), vocab));
  }
  std::sort(places.begin(), places.end());
  Tokens text;
  size_t begin = 0;
  for (size_t i = 0; i < statements.size(); ++i) {
    const auto from = filler.begin() + static_cast<std::ptrdiff_t>(begin);
    text.insert(text.end(), from, filler.begin() + static_cast<std::ptrdiff_t>(places[i]));
    text.insert(text.end(), statements[i].begin(), statements[i].end());
    begin = places[i];
  }
  text.insert(text.end(), filler.begin() + static_cast<std::ptrdiff_t>(begin), filler.end());
  return text;
}

// How the model's vocabulary writes a number behind the lead.
Tokens continuation(const model::Vocab& vocab, const std::string& lead, const std::string& number) {
  const Tokens before = vocab.tokenize(lead, {});
  const Tokens all = vocab.tokenize(lead + " " + number, {});
  const bool extends = all.size() > before.size() && std::equal(before.begin(), before.end(), all.begin());
  if (!extends) return vocab.tokenize(" " + number, {});
  return {all.begin() + static_cast<std::ptrdiff_t>(before.size()), all.end()};
}

}  // namespace

const char* task_name(TaskKind kind) {
  switch (kind) {
    case TaskKind::needle:
      return "needle";
    case TaskKind::multi_key:
      return "multi_key";
    case TaskKind::multi_value:
      return "multi_value";
  }
  return "?";
}

namespace {

struct Numbers {  // what a task states, and what it does not
  std::vector<std::string> words{};
  std::vector<std::string> numbers{};  // the stated ones first
  int n_stated = 0;
  int n_right = 0;
};

Numbers draw_task(TaskKind kind, Random& random) {
  const bool many_values = kind == TaskKind::multi_value;
  Numbers drawn{.n_stated = kind == TaskKind::multi_key ? kKeys
                            : many_values               ? kValues
                                                        : 1,
                .n_right = many_values ? kValues : 1};
  drawn.words = draw_words(many_values ? 1 : drawn.n_stated, random);
  drawn.numbers = draw_numbers(drawn.n_stated + kWrongValues, random);
  return drawn;
}

void add_question(TaskKind kind, const Numbers& drawn, const model::Vocab& vocab, Task& task) {
  const std::string& word = drawn.words[0];
  const bool many_values = kind == TaskKind::multi_value;
  const std::string lead =
      fmt::format("{} for {} is", many_values ? "One of the special numbers" : "The special number", word);
  task.question =
      vocab.tokenize(fmt::format("\n\nWhat {} for {} in the text above?\n",
                                 many_values ? "are the special numbers" : "is the special number", word),
                     {});
  task.lead = vocab.tokenize(lead, {});
  size_t longest = 0;
  for (int i = 0; i < drawn.n_right + kWrongValues; ++i) {
    Tokens number = continuation(vocab, lead, drawn.numbers[static_cast<size_t>(i)]);
    longest = std::max(longest, number.size());
    (i < drawn.n_right ? task.right : task.wrong).push_back(std::move(number));
    if (i < drawn.n_right) task.values.push_back(drawn.numbers[static_cast<size_t>(i)]);
  }
  // A second value comes behind a statement of its own.
  const int n_more = static_cast<int>(longest + task.lead.size() + 3);
  task.answer_tokens = static_cast<int>(longest + 1) + (drawn.n_right - 1) * n_more;
}

}  // namespace

Task make_task(TaskKind kind, int length, std::span<const TokenText> filler, const model::Vocab& vocab,
               uint64_t seed) {
  Random random(seed);
  const Numbers drawn = draw_task(kind, random);
  Task task{.context = vocab.tokenize(kIntro, {.add_special = true})};
  add_question(kind, drawn, vocab, task);
  std::vector<Tokens> statements;
  size_t taken =
      task.context.size() + task.question.size() + task.lead.size() + static_cast<size_t>(task.answer_tokens);
  for (int i = 0; i < drawn.n_stated; ++i) {
    const size_t at = static_cast<size_t>(i);
    const std::string& word = drawn.words[std::min(at, drawn.words.size() - 1)];
    statements.push_back(vocab.tokenize(statement(kind, word, drawn.numbers[at]), {}));
    taken += statements.back().size();
  }
  if (taken >= static_cast<size_t>(length))
    throw Error{Code::bad_request,
                fmt::format("--lengths {}: statements and question alone take {} tokens", length, taken)};
  const Tokens text = with_statements(draw_filler(filler, static_cast<size_t>(length) - taken, random),
                                      std::move(statements), vocab, random);
  task.context.insert(task.context.end(), text.begin(), text.end());
  return task;
}

double share_found(const std::vector<std::string>& values, const std::string& answer) {
  const auto is_digit = [&](size_t at) {
    return at < answer.size() && answer[at] >= '0' && answer[at] <= '9';
  };
  double found = 0;
  for (const std::string& value : values) {
    for (size_t at = answer.find(value); at != std::string::npos; at = answer.find(value, at + 1)) {
      const bool whole = (at == 0 || !is_digit(at - 1)) && !is_digit(at + value.size());
      if (!whole) continue;
      ++found;
      break;
    }
  }
  return found / static_cast<double>(values.size());
}

}  // namespace fastcache::eval
