// SPDX-License-Identifier: Apache-2.0
// What a user said about a press, checked against its row of the registry.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

constexpr size_t kMaxList = 1024;  // values of a list

[[noreturn]] void refuse(const PressRow& row, const std::string& why) {
  throw Error{Code::bad_request, fmt::format("press '{}': {}", row.name, why)};
}

double checked(const PressRow& row, const PressNumber& number, double value) {
  const bool whole = !number.whole || value == std::floor(value);
  if (!(value >= number.min && value <= number.max && whole))
    refuse(row, fmt::format("{} = {} must be a {}number from {} to {}", number.name, value,
                            number.whole ? "whole " : "", number.min, number.max));
  return value + 0.0;  // one zero only: identities must be equal
}

const PressNumber& find_number(const PressRow& row, std::string_view name, bool list) {
  std::vector<std::string_view> known;
  for (const PressNumber& number : row.numbers) {
    known.push_back(number.name);
    if (!same_name(number.name, name)) continue;
    if (number.list != list)
      refuse(row, fmt::format("{} must be {}", number.name, number.list ? "a list, [...]" : "one number"));
    return number;
  }
  throw Error{Code::bad_request,
              fmt::format("press '{}' has no parameter '{}'; it has {}", row.name, name,
                          known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")))};
}

std::map<std::string, double> complete_numbers(const PressRow& row, const PressParams& params) {
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : params.numbers) {
    const PressNumber& number = find_number(row, name, false);
    if (!numbers.emplace(number.name, checked(row, number, value)).second)
      refuse(row, fmt::format("{} is said twice", number.name));
  }
  for (const PressNumber& number : row.numbers)
    if (!number.list) numbers.emplace(number.name, number.standard);
  return numbers;
}

std::map<std::string, std::vector<double>> complete_lists(const PressRow& row, const PressParams& params) {
  std::map<std::string, std::vector<double>> lists;
  for (const auto& [name, values] : params.lists) {
    const PressNumber& number = find_number(row, name, true);
    std::vector<double>& list = lists[std::string{number.name}];
    if (!list.empty()) refuse(row, fmt::format("{} is said twice", number.name));
    if (values.empty() || values.size() > kMaxList)
      refuse(row,
             fmt::format("{} has {} values; it must have 1 to {}", number.name, values.size(), kMaxList));
    for (const double value : values) list.push_back(checked(row, number, value));
  }
  for (const PressNumber& number : row.numbers)
    if (number.list && !lists.contains(std::string{number.name}))
      refuse(row, fmt::format("{} is missing: {}", number.name, number.help));
  return lists;
}

// must_say: nobody outside says how much.
void check_amount(const PressRow& row, PressParams& params, bool must_say) {
  if (params.ratio && params.budget) refuse(row, "ratio and budget are both set; only one of them may be");
  const bool takes_own = row.amount == Amount::own || row.amount == Amount::rows;
  if (!takes_own && (params.ratio || params.budget))
    refuse(row, row.amount == Amount::inner
                    ? "it takes no ratio or budget of its own; each press in it has one"
                    : "it takes no ratio or budget; its list says how much each layer loses");
  if (row.amount == Amount::rows && params.ratio)
    refuse(row,
           "it takes a budget (rows per head that stay) and no ratio: memory must not grow with the answer");
  if (params.ratio && !(*params.ratio >= 0.0 && *params.ratio < 1.0))
    refuse(row, fmt::format("ratio {} must be in [0, 1): it is the fraction removed", *params.ratio));
  if (params.budget && *params.budget < 1)
    refuse(row, fmt::format("budget {} must be at least 1 row per head", *params.budget));
  if (!row.removes && (params.budget || params.ratio.value_or(0.0) != 0.0))
    refuse(row, "it removes nothing, so budget must be left out, and ratio left out or 0");
  if (must_say && row.removes && takes_own && !params.ratio && !params.budget)
    refuse(row, row.amount == Amount::rows
                    ? "set budget (rows per head that stay)"
                    : "set ratio (fraction removed) or budget (rows per head that stay)");
  if (params.ratio) *params.ratio += 0.0;
}

// One amount for both, said at either.
template <class Value>
void hoist(const PressRow& row, std::optional<Value>& outer, std::optional<Value>& inner, const char* what) {
  if (outer && inner && *outer != *inner)
    refuse(row,
           fmt::format("{} is {} here and {} in the press inside it; say it once", what, *outer, *inner));
  if (!outer) outer = inner;
  inner.reset();
}

PressParams complete_tree(const PressParams& params, bool must_say);

void complete_inner(const PressRow& row, PressParams& params) {
  const int n = static_cast<int>(params.inner.size());
  if (n < row.min_inner || n > row.max_inner) {
    if (row.wrap == nullptr)
      refuse(row, fmt::format("it wraps no press, so '{}' cannot stand in it", params.inner[0].name));
    refuse(row,
           fmt::format("it wraps {}; there {} {}",
                       row.max_inner == 1 ? "exactly 1 press"
                                          : fmt::format("{} to {} presses", row.min_inner, row.max_inner),
                       n == 1 ? "is" : "are", n));
  }
  for (PressParams& inner : params.inner) {
    if (inner.seed == 0) inner.seed = params.seed;
    inner = complete_tree(inner, row.amount == Amount::inner);
    const PressRow& wrapped = find_press(inner.name);
    if (wrapped.amount == Amount::rows)
      refuse(row, fmt::format("it cannot wrap '{}', which must stand outermost", wrapped.name));
    if (row.amount == Amount::inner) continue;
    if (row.keeps_all && (wrapped.amount != Amount::own || !wrapped.removes))
      refuse(row, fmt::format("it cannot wrap '{}', which takes no budget", wrapped.name));
    if (!wrapped.plain_scores && !row.keeps_all && !(row.keeps_counts && wrapped.plain_rows))
      refuse(row,
             fmt::format("it cannot wrap '{}', which does not choose rows by scores alone", wrapped.name));
    if (row.amount == Amount::listed && (inner.ratio || inner.budget))
      refuse(row, fmt::format("'{}' in it takes no ratio or budget; the list says how much each layer loses",
                              wrapped.name));
    hoist(row, params.ratio, inner.ratio, "ratio");
    hoist(row, params.budget, inner.budget, "budget");
  }
}

PressParams complete_tree(const PressParams& params, bool must_say) {
  const PressRow& row = find_press(params.name);
  PressParams completed = params;
  completed.name = row.name;
  completed.numbers = complete_numbers(row, params);
  completed.lists = complete_lists(row, params);
  complete_inner(row, completed);
  check_amount(row, completed, must_say);
  return completed;
}

}  // namespace

PressParams complete(const PressParams& params) { return complete_tree(params, true); }

}  // namespace fastcache::press
