// SPDX-License-Identifier: Apache-2.0
#include "eval/press_list.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::eval {
namespace {

using press::PressNeeds;
using press::PressParams;
using press::PressRow;

constexpr std::array<std::string_view, 2> kAlways{"random", "streaming_llm"};

PressNeeds delivered(const ModelGives& gives) {
  return {.keys = true,
          .values = true,
          .last_queries = model::kMostLastQueries,
          .query_statistics = true,
          .received_attention = true,
          .output_weights = gives.output_weights,
          .seed = true,
          .n_layers = gives.n_layers};
}

// What the authors of a wrapper wrap, or the best of the catalogue.
std::vector<std::string> standard_texts(const PressRow& row) {
  const std::string name{row.name};
  if (row.wrap == nullptr) return {name};
  if (name.starts_with("chunk")) return {name + "(snapkv)"};
  return {name + "(snapkv)", name + "(expected_attention)"};
}

bool says_how_much(const PressParams& params) {
  if (params.ratio || params.budget) return true;
  return std::any_of(params.inner.begin(), params.inner.end(), says_how_much);
}

Method make_method(const std::string& text, const ModelGives& gives, uint64_t seed) {
  Method method{.name = text, .params = press::parse_press(text), .needs = {}};
  if (says_how_much(method.params))
    throw Error{Code::bad_request,
                fmt::format("press '{}': leave ratio and budget out; --removed says how much goes", text)};
  const PressRow& row = press::find_press(method.params.name);
  const bool takes_rows = row.amount == press::Amount::rows;
  if (!row.removes || (row.amount != press::Amount::own && !takes_rows))
    throw Error{Code::bad_request,
                fmt::format("press '{}' takes no ratio, so it cannot be compared at the same bytes", text)};
  if (method.params.seed == 0) method.params.seed = seed;
  PressParams tried = method.params;
  if (takes_rows)
    tried.budget = 1;
  else
    tried.ratio = 0.5;
  const auto made = press::make_press(tried);
  method.needs = made->needs();
  method.every = made->decode_interval();
  press::check_needs(text, method.needs, delivered(gives));
  return method;
}

std::vector<Method> catalogue(const ModelGives& gives, uint64_t seed) {
  std::vector<Method> methods;
  for (const PressRow* row : press::presses()) {
    if (!row->removes || row->amount != press::Amount::own || row->name.starts_with("test_")) continue;
    for (const std::string& text : standard_texts(*row)) {
      try {
        methods.push_back(make_method(text, gives, seed));
      } catch (const Error& error) {  // needs what this way of measuring has not, or cannot wrap that one
        log().info("{} is left out: {}", text, error.what());
      }
    }
  }
  return methods;
}

}  // namespace

std::vector<Method> choose_methods(const std::vector<std::string>& texts, const ModelGives& gives,
                                   uint64_t seed) {
  std::vector<Method> methods;
  for (const std::string_view name : kAlways) methods.push_back(make_method(std::string{name}, gives, seed));
  std::vector<Method> wanted = texts.empty() ? catalogue(gives, seed) : std::vector<Method>();
  for (const std::string& text : texts) wanted.push_back(make_method(text, gives, seed));
  for (Method& method : wanted) {
    const auto same = [&](const Method& other) { return press::same_name(other.name, method.name); };
    if (std::none_of(methods.begin(), methods.end(), same)) methods.push_back(std::move(method));
  }
  return methods;
}

PressNeeds needs_of(const std::vector<Method>& methods) {
  PressNeeds all;
  const Method* with_statistics = nullptr;
  for (const Method& method : methods) {
    if (!method.needs.query_statistics) continue;
    if (with_statistics != nullptr && with_statistics->needs.statistics_skip != method.needs.statistics_skip)
      throw Error{Code::bad_request,
                  fmt::format("{} and {} leave out different numbers of first tokens (n_sink); evaluate them "
                              "in two runs",
                              with_statistics->name, method.name)};
    with_statistics = &method;
  }
  for (const Method& method : methods) all = press::united(all, method.needs);
  return all;
}

bool is_simple_baseline(const Method& method) {
  constexpr std::array<std::string_view, 3> kSimple{"random", "streaming_llm", "knorm"};
  return std::any_of(kSimple.begin(), kSimple.end(),
                     [&](std::string_view name) { return press::same_name(name, method.params.name); });
}

}  // namespace fastcache::eval
