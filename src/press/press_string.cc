// SPDX-License-Identifier: Apache-2.0
#include "press/press_string.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {
    if (text.size() > kMaxPressText)
      throw Error{Code::bad_request, fmt::format("the press's text has {} characters; it may have {}",
                                                 text.size(), kMaxPressText)};
  }

  PressParams whole() {
    const PressParams press = this->press(1);
    if (next() != '\0' || at_ < text_.size()) expected("nothing more");
    return press;
  }

 private:
  // The character that comes next, blanks aside; 0 at the end.
  char next() {
    while (at_ < text_.size() && std::string_view{" \t\r\n"}.find(text_[at_]) != std::string_view::npos)
      ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool take(char c) {
    if (next() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  [[noreturn]] void fail(size_t at, const std::string& what) const {
    throw Error{Code::bad_request, fmt::format("the press's text, character {}: {}", at + 1, what)};
  }

  [[noreturn]] void expected(std::string_view what) {
    const char c = next();
    std::string found = "the end";
    if (at_ < text_.size())
      found = c > ' ' && c <= '~' ? fmt::format("'{}'", c)
                                  : fmt::format("byte {:#04x}", static_cast<unsigned char>(c));
    fail(at_, fmt::format("{} must stand here, not {}", what, found));
  }

  std::string name(std::string_view what) {
    next();
    const size_t begin = at_;
    while (at_ < text_.size() && is_name_character(text_[at_])) ++at_;
    if (at_ == begin) expected(what);
    return std::string{text_.substr(begin, at_ - begin)};
  }

  PressParams press(int depth) {
    next();
    const size_t begin = at_;
    return arguments(name("the name of a press"), begin, depth);
  }

  // What may follow a press's name, which began at `begin`.
  PressParams arguments(std::string name, size_t begin, int depth) {
    if (depth > kMaxPressDepth)
      fail(begin, fmt::format("more than {} presses stand inside each other", kMaxPressDepth));
    PressParams press{.name = std::move(name)};
    if (!take('(') || take(')')) return press;
    std::vector<std::string> said;
    do {
      argument(press, said, depth);
    } while (take(','));
    if (!take(')')) expected("',' or ')'");
    return press;
  }

  void argument(PressParams& press, std::vector<std::string>& said, int depth) {
    next();
    const size_t begin = at_;
    std::string name = this->name("a parameter or a press");
    if (!take('=')) {
      press.inner.push_back(arguments(std::move(name), begin, depth + 1));
      return;
    }
    const auto is_it = [&](const std::string& other) { return same_name(other, name); };
    if (std::any_of(said.begin(), said.end(), is_it)) fail(begin, fmt::format("'{}' is said twice", name));
    said.push_back(name);
    value(press, name);
  }

  void value(PressParams& press, const std::string& name) {
    if (same_name(name, "ratio")) {
      press.ratio = number<double>();
    } else if (same_name(name, "budget")) {
      press.budget = number<int>();
    } else if (same_name(name, "seed")) {
      press.seed = number<uint64_t>();
    } else if (take('[')) {
      std::vector<double>& list = press.lists[name];
      if (take(']')) return;
      do {
        list.push_back(number<double>());
      } while (take(','));
      if (!take(']')) expected("',' or ']'");
    } else {
      press.numbers[name] = number<double>();
    }
  }

  template <class Number>
  Number number() {
    constexpr bool kWhole = std::numeric_limits<Number>::is_integer;
    next();
    const char* const begin = text_.data() + at_;
    Number value{};
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error == std::errc::result_out_of_range) fail(at_, "a number is too large");
    if (error != std::errc{}) expected(kWhole ? "a whole number" : "a number");
    if (!kWhole && !std::isfinite(static_cast<double>(value))) expected("a finite number");
    at_ += static_cast<size_t>(end - begin);
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

// Said inside, beside or both, but then alike.
template <class Value>
void add(std::optional<Value>& inside, const std::optional<Value>& beside, std::string_view name) {
  if (inside && beside && *inside != *beside)
    throw Error{Code::bad_request, fmt::format("{} is {} in the press's text and {} beside it; say it once",
                                               name, *inside, *beside)};
  if (!inside) inside = beside;
}

}  // namespace

PressParams parse_press(std::string_view text) { return Parser{text}.whole(); }

PressParams parse_press(std::string_view text, const PressParams& beside) {
  PressParams params = parse_press(text);
  add(params.ratio, beside.ratio, "ratio");
  add(params.budget, beside.budget, "budget");
  const auto said = [](uint64_t seed) { return seed == 0 ? std::nullopt : std::optional{seed}; };
  std::optional<uint64_t> seed = said(params.seed);
  add(seed, said(beside.seed), "seed");
  params.seed = seed.value_or(0);
  for (const auto& [name, value] : beside.numbers) {
    std::optional<double> number = value;
    for (const auto& [other, inside] : params.numbers)
      if (same_name(name, other)) add(number, std::optional{inside}, name);
    params.numbers.emplace(name, value);
  }
  return params;
}

}  // namespace fastcache::press
