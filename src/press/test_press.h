// SPDX-License-Identifier: Apache-2.0
// For tests: sequences of test rows (kv/test_rows.h), and what a press did to them.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "kv/test_rows.h"
#include "press/compress.h"
#include "press/random_score.h"
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

// All but those that take a budget only.
inline std::vector<const PressRow*> ratio_presses() {
  std::vector<const PressRow*> rows;
  for (const PressRow* row : presses())
    if (row->amount != Amount::rows) rows.push_back(row);
  return rows;
}

inline bool has_even_counts(const PressRow& row) {
  return row.name != "test_uneven" && row.name != "adakv" && row.name != "pyramidkv" &&
         row.name != "test_second_pass";
}

// Puts rows of its own into the cache: what is there then is no longer what was written.
inline bool makes_rows(const PressRow& row) {
  return make_press(with_ratio(std::string{row.name}, 0.5))->needs().new_rows;
}

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

// As if the sequence's prompt had just been computed: two query heads per KV head. A query depends on its
// layer and token alone.
inline std::unique_ptr<model::QueryRecord> test_record(const kv::Sequence& sequence, const PressNeeds& needs,
                                                       int head_dim = kv::kTestHeadDim) {
  constexpr int kGroup = 2;
  const int n_layers = sequence.shape().n_layers, n_heads = kGroup * sequence.shape().n_kv_heads;
  const int n_tokens = sequence.token_count(), first = std::max(0, n_tokens - needs.last_queries);
  auto record = std::make_unique<model::QueryRecord>(
      model::QueryRecord{.attention = {.n_heads = n_heads,
                                       .n_kv_heads = sequence.shape().n_kv_heads,
                                       .head_dim = head_dim,
                                       .scale = 0.25f},
                         .last = {n_layers, n_heads, head_dim, first, n_tokens}});
  std::vector<float> query(static_cast<size_t>(n_heads) * head_dim);
  for (int layer = 0; layer < n_layers; ++layer)
    for (int token = first; token < n_tokens; ++token) {
      for (size_t i = 0; i < query.size(); ++i)  // test rows reach 127
        query[i] = (random_score(1, layer, static_cast<int>(i), token) - 0.5f) * 0.2f;
      record->last.set(layer, token, query.data());
    }
  if (needs.received_attention) {
    record->received = {n_layers, sequence.shape().n_kv_heads, 0, n_tokens};
    for (double& sum : record->received.sums)
      sum = random_score(3, 0, 0, static_cast<int>(&sum - record->received.sums.data()));
  }
  if (needs.second_pass) {
    record->probed = {n_layers, sequence.shape().n_kv_heads, n_tokens};
    for (float& most : record->probed.maxima)
      most = random_score(5, 0, 0, static_cast<int>(&most - record->probed.maxima.data()));
  }
  if (!needs.query_statistics) return record;
  record->moments = {n_layers, n_heads, head_dim, needs.statistics_skip, n_tokens};
  for (int i = 0; i < n_layers * n_heads; ++i)
    for (int token = 0; token < n_tokens; ++token) {
      for (int d = 0; d < head_dim; ++d) query[d] = (random_score(2, i, d, token) - 0.5f) * 0.2f;
      record->moments.add(i / n_heads, i % n_heads, 0, token, 1, query.data(), head_dim);
    }
  return record;
}

// A W_O for each layer, for two query heads per KV head; wide enough that its norms differ from row to row.
struct TestOutputWeights {
  TestOutputWeights(const kv::CacheShape& shape, int head_dim, int group = 2, int n_out = 40) {
    const int n_in = group * shape.n_kv_heads * head_dim;
    values.resize(static_cast<size_t>(shape.n_layers) * n_out * n_in);
    for (size_t i = 0; i < values.size(); ++i) values[i] = random_score(4, 0, 0, static_cast<int>(i)) - 0.5f;
    for (int layer = 0; layer < shape.n_layers; ++layer) {
      const linear::WeightSource source{.ggml_type = 0,  // f32
                                        .data = values.data() + static_cast<size_t>(layer) * n_out * n_in,
                                        .n_out = n_out,
                                        .n_in = n_in,
                                        .name = "test"};
      matrices.push_back(linear::pack({&source, 1}));
    }
    for (const linear::PackedMatrix& matrix : matrices) layers.push_back(&matrix);
  }

  std::vector<float> values;  // [n_layers, n_out, n_in]
  std::vector<linear::PackedMatrix> matrices;
  std::vector<const linear::PackedMatrix*> layers;
};

inline CompressResult run_press(const PressParams& params, kv::PagePool& pool, kv::Sequence& sequence,
                                bool new_rows_only = false, int n_threads = 1) {
  ComputePool threads{n_threads};
  const auto press = make_press(params);
  const auto record = test_record(sequence, press->needs(), pool.head_dim());
  std::optional<TestOutputWeights> output;
  if (press->needs().output_weights) output.emplace(sequence.shape(), pool.head_dim());
  CompressJob job{press.get(), complete(params).how_much(), &pool, &sequence, new_rows_only, record.get()};
  if (output) job.output_weights = output->layers;
  return compress(job, threads);
}

// What a sequence alone on its pages must hold, compressed or not: ceil(rows / 16) for each head, and what
// its biases take.
inline size_t pages_by_formula(const kv::Sequence& sequence) {
  const size_t per_page = static_cast<size_t>(sequence.shape().rows());
  size_t pages = 0;
  for (const auto& tokens : tokens_held(sequence)) pages += (tokens.size() + per_page - 1) / per_page;
  for (int pair = 0; pair < sequence.shape().n_heads(); ++pair) {
    const auto& bias =
        sequence.table(pair / sequence.shape().n_kv_heads, pair % sequence.shape().n_kv_heads).bias;
    if (bias != nullptr) pages += bias->pages.size();
  }
  return pages;
}

inline int64_t count_rows(const Tokens& tokens) {
  int64_t n = 0;
  for (const auto& head : tokens) n += static_cast<int64_t>(head.size());
  return n;
}

}  // namespace fastcache::press
