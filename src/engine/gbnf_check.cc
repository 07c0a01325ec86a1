// SPDX-License-Identifier: Apache-2.0
#include "engine/gbnf_check.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "engine/gbnf_parse.h"

namespace fastcache::engine {
namespace {

constexpr int kMaxEmptyRounds = 200;
constexpr int kMaxNestedRules = 1000;
constexpr long kMaxLeftDepth = 5000;       // of libllama's recursion; a frame has less than 300 bytes
constexpr double kMaxLeftPaths = 100'000;  // libllama walks all of them

class Checker {
 public:
  Checker(const GbnfOutline& outline, const char* parameter)
      : rules_(outline.rules), parameter_(parameter), empty_(rules_.size()), left_(rules_.size()) {
    for (const GbnfRule& rule : rules_) {
      if (rule.alternates.empty()) fail(fmt::format("the rule {} is used, but not defined", rule.name));
    }
    if (!outline.by_name.contains("root")) fail("there is no rule named root");
    find_empty();
    for (size_t i = 0; i < rules_.size(); ++i) measure(i, 0);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error{Code::bad_request, fmt::format("{}: {}", parameter_, what)};
  }

  bool may_be_empty(const GbnfItem& item) const {
    return item.optional || (item.rule >= 0 && empty_[static_cast<size_t>(item.rule)]);
  }

  void find_empty() {
    bool changed = true;
    for (int round = 0; changed; ++round) {
      if (round == kMaxEmptyRounds) fail("its rules are nested too deeply");
      changed = false;
      for (size_t i = 0; i < rules_.size(); ++i) {
        if (empty_[i]) continue;
        empty_[i] =
            std::any_of(rules_[i].alternates.begin(), rules_[i].alternates.end(), [&](const auto& sequence) {
              return std::all_of(sequence.begin(), sequence.end(),
                                 [&](const auto& item) { return may_be_empty(item); });
            });
        changed |= empty_[i];
      }
    }
  }

  // What can stand at the beginning of a rule's text: how many ways lead there, and how deep.
  struct Left {
    enum { unknown, in_progress, known } state = unknown;
    double paths = 1;
    long depth = 1;
  };

  const Left& measure(size_t rule, int level) {
    Left& left = left_[rule];
    if (left.state == Left::known) return left;
    if (left.state == Left::in_progress) {
      fail(rules_[rule].name.empty()
               ? "a rule begins with itself (left recursion)"
               : fmt::format("the rule {} begins with itself (left recursion)", rules_[rule].name));
    }
    if (level > kMaxNestedRules) fail("its rules are nested too deeply");
    left.state = Left::in_progress;
    for (const GbnfSequence& sequence : rules_[rule].alternates) {
      for (const GbnfItem& item : sequence) {
        if (item.rule >= 0) add(left, item, measure(static_cast<size_t>(item.rule), level + 1));
        if (!may_be_empty(item)) break;
      }
    }
    if (left.paths > kMaxLeftPaths || left.depth > kMaxLeftDepth)
      fail("it has too many ways to begin; name fewer alternatives, or repeat less what may be empty");
    left.state = Left::known;
    return left;
  }

  // Copies of an item that may be empty stand at the beginning one after the other.
  void add(Left& left, const GbnfItem& item, const Left& inner) const {
    const long copies = empty_[static_cast<size_t>(item.rule)] ? item.repetitions : 1;
    left.paths += inner.paths * static_cast<double>(copies);
    left.depth = std::max(left.depth, inner.depth + copies + 1);
  }

  const std::vector<GbnfRule>& rules_;
  const char* parameter_;
  std::vector<bool> empty_;
  std::vector<Left> left_;
};

}  // namespace

void check_gbnf(std::string_view text, const char* parameter) {
  const GbnfOutline outline = parse_gbnf(text, parameter);
  Checker(outline, parameter);
}

}  // namespace fastcache::engine
