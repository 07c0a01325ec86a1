// SPDX-License-Identifier: Apache-2.0
#include "press/registry.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fastcache::press {

// Each in the file of its name.
extern const PressRow kNone, kRandom, kKnorm, kStreamingLlm, kTestUneven;
extern const PressRow kSnapKv, kPyramidKv, kTova, kExpectedAttention, kObservedAttention;

namespace {

constexpr const PressRow* kPresses[] = {&kNone,
                                        &kRandom,
                                        &kKnorm,
                                        &kStreamingLlm,
                                        &kSnapKv,
                                        &kPyramidKv,
                                        &kTova,
                                        &kExpectedAttention,
                                        &kObservedAttention,
                                        &kTestUneven};

std::string listed(const std::string& list, std::string_view name) {
  return list.empty() ? std::string{name} : fmt::format("{}, {}", list, name);
}

const PressRow& find_press(const std::string& name) {
  std::string known;
  for (const PressRow* row : kPresses) {
    if (row->name == name) return *row;
    known = listed(known, row->name);
  }
  throw Error{Code::not_found, fmt::format("press '{}' does not exist; there are {}", name, known)};
}

void check_budget(const PressRow& row, const PressParams& params) {
  const auto refuse = [&](const std::string& why) {
    throw Error{Code::bad_request, fmt::format("press '{}': {}", row.name, why)};
  };
  if (params.ratio && params.budget) refuse("ratio and budget are both set; only one of them may be");
  if (params.ratio && !(*params.ratio >= 0.0 && *params.ratio < 1.0))
    refuse(fmt::format("ratio {} must be in [0, 1): it is the fraction removed", *params.ratio));
  if (params.budget && *params.budget < 1)
    refuse(fmt::format("budget {} must be at least 1 row per head", *params.budget));
  if (!row.removes && (params.budget || params.ratio.value_or(0.0) != 0.0))
    refuse("it removes nothing, so budget must be left out, and ratio left out or 0");
  if (row.removes && !params.ratio && !params.budget)
    refuse("set ratio (fraction removed) or budget (rows per head that stay)");
}

void check_number(const PressRow& row, const PressNumber& number, double value) {
  const bool whole = !number.whole || value == std::floor(value);
  if (value >= number.min && value <= number.max && whole) return;
  throw Error{Code::bad_request,
              fmt::format("press '{}': {} = {} must be a {}number from {} to {}", row.name, number.name,
                          value, number.whole ? "whole " : "", number.min, number.max)};
}

void check_names(const PressRow& row, const PressParams& params) {
  for (const auto& [name, value] : params.numbers) {
    std::string known;
    for (const PressNumber& number : row.numbers) known = listed(known, number.name);
    if (std::any_of(row.numbers.begin(), row.numbers.end(), [&](const auto& n) { return n.name == name; }))
      continue;
    throw Error{Code::bad_request, fmt::format("press '{}' has no parameter '{}'; it has {}", row.name, name,
                                               known.empty() ? "none" : known)};
  }
}

}  // namespace

std::span<const PressRow* const> presses() { return kPresses; }

PressParams complete(const PressParams& params) {
  const PressRow& row = find_press(params.name);
  check_budget(row, params);
  check_names(row, params);
  PressParams completed = params;
  for (const PressNumber& number : row.numbers) {
    const auto [at, is_default] = completed.numbers.try_emplace(std::string{number.name}, number.standard);
    check_number(row, number, at->second);
    if (at->second == 0.0) at->second = 0.0;  // one zero only: identities must be equal
  }
  return completed;
}

std::unique_ptr<Press> make_press(const PressParams& params) {
  const PressParams completed = complete(params);
  return find_press(completed.name).make(completed);
}

std::string press_identity(const PressParams& params) {
  const PressParams completed = complete(params);
  std::string list;
  for (const auto& [name, value] : completed.numbers) list = listed(list, fmt::format("{}={}", name, value));
  if (completed.ratio) list = listed(list, fmt::format("ratio={}", *completed.ratio + 0.0));
  if (completed.budget) list = listed(list, fmt::format("budget={}", *completed.budget));
  if (make_press(completed)->needs().seed) list = listed(list, fmt::format("seed={}", completed.seed));
  return fmt::format("{}({})", completed.name, list);
}

Hash128 press_hash(const PressParams& params) {
  const std::string identity = press_identity(params);
  return hash128(std::as_bytes(std::span{identity}));
}

}  // namespace fastcache::press
