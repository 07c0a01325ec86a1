// SPDX-License-Identifier: Apache-2.0
// For tests: sequences of test rows (kv/test_rows.h), and what a press did to them.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kv/test_rows.h"
#include "press/compress.h"
#include "press/registry.h"

namespace fastcache::press {

using Tokens = std::vector<std::vector<int32_t>>;  // [pair][rows]: the tokens of the rows held

inline Tokens tokens_held(const kv::Sequence& sequence) {
  const kv::CacheShape& shape = sequence.shape();
  Tokens tokens(shape.n_heads());
  for (int pair = 0; pair < shape.n_heads(); ++pair) {
    const int layer = pair / shape.n_kv_heads, head = pair % shape.n_kv_heads;
    for (int row = 0; row < sequence.rows_held(layer, head); ++row)
      tokens[pair].push_back(sequence.row_token(layer, head, row));
  }
  return tokens;
}

inline std::vector<int32_t> first_tokens(int n) {
  std::vector<int32_t> tokens(n);
  for (int i = 0; i < n; ++i) tokens[i] = i;
  return tokens;
}

// Parameters that the press takes: `none` is asked for nothing, wrappers get random presses to wrap. What
// takes a list of ratios is for 3 layers.
inline PressParams with_ratio(const std::string& name, double ratio, uint64_t seed = 7) {
  PressParams params{.name = name, .seed = seed};
  const PressRow& row = find_press(name);
  if (row.wrap != nullptr) params.inner.assign(row.min_inner, {.name = "random"});
  if (row.amount == Amount::inner)
    params.inner.assign({{.name = "none"}, {.name = "random", .ratio = ratio}});
  if (row.amount == Amount::listed) params.lists["ratios"].assign(3, ratio);
  if (row.amount == Amount::own && row.removes) params.ratio = ratio;
  return params;
}

inline bool has_even_counts(const PressRow& row) { return row.name != "test_uneven" && row.name != "adakv"; }

inline bool takes_budget(const PressRow& row) { return row.amount != Amount::listed; }

inline PressParams with_budget(const std::string& name, int rows, uint64_t seed = 7) {
  PressParams params = with_ratio(name, 0.0, seed);
  if (params.ratio) {
    params.ratio.reset();
    params.budget = rows;
  } else if (find_press(name).amount == Amount::inner) {
    params.inner.back() = {.name = "random", .budget = rows};
  }
  return params;
}

inline CompressResult run_press(const PressParams& params, kv::PagePool& pool, kv::Sequence& sequence,
                                bool new_rows_only = false, int n_threads = 1) {
  ComputePool threads{n_threads};
  const auto press = make_press(params);
  return compress({press.get(), complete(params).how_much(), &pool, &sequence, new_rows_only}, threads);
}

// What a sequence alone on its pages must hold, compressed or not: ceil(rows / 16) for each head.
inline size_t pages_by_formula(const kv::Sequence& sequence) {
  const size_t per_page = static_cast<size_t>(sequence.shape().rows());
  size_t pages = 0;
  for (const auto& tokens : tokens_held(sequence)) pages += (tokens.size() + per_page - 1) / per_page;
  return pages;
}

inline int64_t count_rows(const Tokens& tokens) {
  int64_t n = 0;
  for (const auto& head : tokens) n += static_cast<int64_t>(head.size());
  return n;
}

}  // namespace fastcache::press
