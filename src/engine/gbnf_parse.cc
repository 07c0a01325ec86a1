// SPDX-License-Identifier: Apache-2.0
#include "engine/gbnf_parse.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>

#include "base/error.h"
#include "model/utf8.h"

namespace fastcache::engine {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'; }

class Parser {
 public:
  Parser(std::string_view text, const char* parameter) : text_(text), parameter_(parameter) {}

  GbnfOutline parse() {
    if (const auto bad = model::find_invalid_utf8(text_)) fail_at(*bad, "this is not valid UTF-8");
    const size_t nul = text_.find('\0');
    if (nul != std::string_view::npos) fail_at(nul, "a NUL byte; \\x00 writes one");
    skip_space(true);
    while (!at_end()) parse_rule();
    return std::move(outline_);
  }

 private:
  [[noreturn]] void fail_at(size_t at, const std::string& what) const {
    const std::string_view before = text_.substr(0, at);
    const size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    throw Error{Code::bad_request,
                fmt::format("{}, line {}, column {}: {}", parameter_,
                            std::count(before.begin(), before.end(), '\n') + 1, at - line_begin + 1, what)};
  }
  [[noreturn]] void fail(const std::string& what) const { fail_at(at_, what); }

  bool at_end() const { return at_ == text_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }

  void skip_space(bool newlines) {
    while (!at_end()) {
      const char c = peek();
      const bool space = c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'));
      if (c != '#' && !space) return;
      at_ = c == '#' ? std::min(text_.find_first_of("\r\n", at_), text_.size()) : at_ + 1;
    }
  }

  std::string_view name() {
    const size_t begin = at_;
    while (is_name(peek())) ++at_;
    if (at_ == begin) fail("expected the name of a rule (letters, digits and -)");
    return text_.substr(begin, at_ - begin);
  }

  int rule_named(std::string_view name) {
    const auto found = outline_.by_name.find(name);
    if (found != outline_.by_name.end()) return found->second;
    const int index = new_rule();
    outline_.rules.back().name = name;
    outline_.by_name.emplace(name, index);
    return index;
  }

  int new_rule() {
    outline_.rules.emplace_back();
    ++n_symbols_;
    return static_cast<int>(outline_.rules.size()) - 1;
  }

  void parse_rule() {
    const int rule = rule_named(name());
    skip_space(false);
    if (!text_.substr(at_).starts_with("::=")) fail("expected ::= after the name of a rule");
    at_ += 3;
    skip_space(true);
    parse_alternates(rule, 0);
    if (!at_end() && peek() != '\n' && peek() != '\r') fail("expected the end of the line, or | and more");
    skip_space(true);
  }

  void parse_alternates(int rule, int depth) {
    if (depth > kMaxGbnfDepth) fail(fmt::format("parentheses are nested more than {} deep", kMaxGbnfDepth));
    std::vector<GbnfSequence> alternates{parse_sequence(depth)};
    while (peek() == '|') {
      ++at_;
      skip_space(true);
      alternates.push_back(parse_sequence(depth));
    }
    outline_.rules[static_cast<size_t>(rule)].alternates = std::move(alternates);
  }

  // What a repetition would repeat.
  struct Last {
    long size = 0;     // in libllama's elements; 0: nothing
    long n_rules = 1;  // that libllama counts for it
  };

  GbnfSequence parse_sequence(int depth) {
    GbnfSequence sequence;
    Last last;
    count(2);
    for (;; skip_space(depth > 0)) {
      const char c = peek();
      if (c == '"' || c == '[' || c == '.') {
        last = {.size = c == '"' ? parse_literal() : c == '[' ? parse_class() : (++at_, 1)};
        if (last.size > 0) sequence.push_back({});
      } else if (is_name(c)) {
        sequence.push_back({.rule = rule_named(name())});
        last = {.size = 1};
      } else if (c == '(') {
        const long n_before = n_symbols_;
        sequence.push_back({.rule = parse_group(depth)});
        last = {.size = 1, .n_rules = n_symbols_ - n_before};
      } else if (c == '*' || c == '+' || c == '?' || c == '{') {
        if (last.size == 0) fail("there is nothing in front of it that could be repeated");
        parse_repetition(sequence.back(), last);
        continue;
      } else if (c == '<' || c == '!') {
        fail("elements that name tokens (<...>) are not supported; write their text");
      } else {
        return sequence;
      }
      count(last.size);
    }
  }

  void count(long elements) {
    n_elements_ += elements;
    if (n_elements_ > kMaxGbnfElements)
      fail("the grammar is too large with its repetitions written out; repeat less");
  }

  int parse_group(int depth) {
    ++at_;
    skip_space(true);
    const int rule = new_rule();
    parse_alternates(rule, depth + 1);
    if (peek() != ')') fail("expected )");
    ++at_;
    return rule;
  }

  long parse_literal() {
    long n = 0;
    for (++at_; peek() != '"'; ++n) parse_char("the literal is not closed by \"");
    ++at_;
    return n;
  }

  long parse_class() {
    long n = 0;
    ++at_;
    if (peek() == '^') ++at_;
    for (; peek() != ']'; ++n) {
      parse_char("the class of characters is not closed by ]");
      if (peek() == '-' && peek(1) != ']') {
        ++at_;
        ++n;
        parse_char("the range of characters has no end");
      }
    }
    if (n == 0) fail("the class of characters is empty");
    ++at_;
    return n;
  }

  void parse_char(const char* at_end_say) {
    if (at_end()) fail(at_end_say);
    if (peek() != '\\') {
      do ++at_;  // a whole character
      while ((static_cast<unsigned char>(peek()) & 0xC0) == 0x80);
      return;
    }
    const char kind = peek(1);
    const int digits = kind == 'x' ? 2 : kind == 'u' ? 4 : kind == 'U' ? 8 : 0;
    if (kind == '\0' || (digits == 0 && std::string_view("trn\\\"[]-").find(kind) == std::string_view::npos))
      fail("unknown escape; there are \\t \\r \\n \\\\ \\\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH");
    at_ += 2;
    for (int i = 0; i < digits; ++i, ++at_) {
      if (std::isxdigit(static_cast<unsigned char>(peek())) == 0)
        fail(fmt::format("\\{} must be followed by {} hexadecimal digits", kind, digits));
    }
  }

  long number() {
    if (!is_digit(peek())) fail("expected a number of repetitions");
    long value = 0;
    for (; is_digit(peek()); ++at_) value = std::min(value * 10 + (peek() - '0'), 1'000'000'000L);
    return value;
  }

  // `last` is the item as it stands in libllama's tables; it grows.
  void parse_repetition(GbnfItem& item, Last& last) {
    const char c = peek();
    long least = c == '+' ? 1 : 0, most = c == '?' ? 1 : -1;  // -1: no limit
    ++at_;
    if (c == '{') {
      skip_space(true);
      least = most = number();
      skip_space(true);
      if (peek() == ',') {
        ++at_;
        skip_space(true);
        most = is_digit(peek()) ? number() : -1;
        skip_space(true);
      }
      if (peek() != '}') fail("expected }");
      if (most >= 0 && most < least) fail("the largest number of repetitions is below the smallest");
      if (least > kMaxGbnfRepetitions)
        fail(fmt::format("at least {} repetitions; at most {} are possible", least, kMaxGbnfRepetitions));
      ++at_;
    }
    if (most > kMaxGbnfRepetitions) most = -1;
    const long n_optional = most < 0 ? 1 : most - least;
    last.n_rules *= std::max({most, least, 1L});
    if (last.n_rules > kMaxGbnfRepetitions)
      fail(fmt::format("repetitions of repetitions make {} rules; at most {} are possible", last.n_rules,
                       kMaxGbnfRepetitions));
    count(last.size * std::max(least - 1, 0L) + (last.size + 3) * n_optional);
    n_symbols_ += n_optional;
    item.optional |= least == 0;
    item.repetitions *= static_cast<int>(std::max(least + n_optional, 1L));
    last.size = last.size * least + (n_optional > 0 ? 1 : 0);
  }

  std::string_view text_;
  const char* parameter_;
  size_t at_ = 0;
  long n_elements_ = 0;
  long n_symbols_ = 0;  // rules, with those that libllama makes for repetitions
  GbnfOutline outline_;
};

}  // namespace

GbnfOutline parse_gbnf(std::string_view text, const char* parameter) {
  if (text.size() > kMaxGbnfBytes) {
    throw Error{Code::bad_request, fmt::format("{} has {} bytes as GBNF; it may have at most {}", parameter,
                                               text.size(), kMaxGbnfBytes)};
  }
  return Parser(text, parameter).parse();
}

}  // namespace fastcache::engine
