// SPDX-License-Identifier: Apache-2.0
// For tests: sequences of random rows with random queries, and the attention between them in plain loops.
#pragma once

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "kv/head_reader.h"
#include "kv/test_rows.h"
#include "press/press.h"

namespace fastcache::press {

struct RandomQueries {
  int group = 3;  // query heads per KV head
  int window = 0;
  float softcap = 0;
};

// Rows and queries of n more tokens; the record is of the last n_kept of them.
struct RandomTurn {
  RandomTurn(kv::Sequence& sequence, uint64_t seed, int n, int n_kept, const RandomQueries& shape = {})
      : random(seed) {
    constexpr int kDim = kv::kTestHeadDim;
    const int before = sequence.token_count(), n_kv_heads = sequence.shape().n_kv_heads;
    const int n_layers = sequence.shape().n_layers, n_heads = shape.group * n_kv_heads;
    if (!sequence.append_text(std::vector<int32_t>(n, 1)))
      throw std::runtime_error("the test's pool is small");
    std::vector<float> row(2 * kDim), query(static_cast<size_t>(n_heads) * kDim);
    for (int layer = 0; layer < n_layers; ++layer)
      for (int head = 0; head < n_kv_heads; ++head)
        for (int i = 0; i < n; ++i) {
          for (float& x : row) x = normal(random);
          const kv::RowSlot slot = sequence.slot(layer, head, i);
          write_row(slot.page, slot.type, kDim, slot.row, row.data(), row.data() + kDim);
        }
    record.attention = {.n_heads = n_heads,
                        .n_kv_heads = n_kv_heads,
                        .head_dim = kDim,
                        .scale = 0.25f,
                        .softcap = shape.softcap,
                        .window = shape.window};
    record.last = {n_layers, n_heads, kDim, before + n - n_kept, before + n};
    for (int layer = 0; layer < n_layers; ++layer)
      for (int token = before + n - n_kept; token < before + n; ++token) {
        for (float& x : query) x = 1.5f * normal(random);
        record.last.set(layer, token, query.data());
      }
    record.moments = {n_layers, n_heads, kDim, std::max(kSkip, before), before + n};
    plain_queries.resize(static_cast<size_t>(n_layers * n_heads) * n * kDim);
    for (float& x : plain_queries) x = 1.5f * normal(random) + 1.0f;
    for (int i = 0; i < n_layers * n_heads; ++i)
      record.moments.add(i / n_heads, i % n_heads, 0, before, n, queries_of(i, n), kDim);
  }
  // Of the turn's tokens, before RoPE. [n, head_dim]
  const float* queries_of(int layer_and_head, int n) const {
    return plain_queries.data() + static_cast<size_t>(layer_and_head) * n * kv::kTestHeadDim;
  }

  static constexpr int kSkip = 4;  // as expected_attention has it
  std::vector<float> plain_queries;
  std::mt19937_64 random;
  std::normal_distribution<float> normal;
  model::QueryRecord record;
};

// [rows held]: softmax attention of one query head of a token.
inline std::vector<double> plain_attention(const LayerInput& layer, int query_head, int token) {
  const attention::AttentionShape& shape = layer.record()->attention;
  const int head = query_head / (shape.n_heads / shape.n_kv_heads), d = shape.head_dim;
  const float* q = layer.record()->last.at(layer.layer(), token) + query_head * d;
  std::vector<double> weights(layer.n_held(head));
  std::vector<float> k(d);
  double highest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t row = 0; row < weights.size(); ++row) {
    layer.read_held_keys(head, static_cast<int>(row), 1, k.data());
    double dot = 0;
    for (int i = 0; i < d; ++i) dot += static_cast<double>(q[i]) * k[i];
    weights[row] = dot * shape.scale;
    if (shape.softcap > 0) weights[row] = shape.softcap * std::tanh(weights[row] / shape.softcap);
    const int key = layer.held_token(head, static_cast<int>(row));
    if (key > token || (shape.window > 0 && key <= token - shape.window))
      weights[row] = -std::numeric_limits<double>::infinity();
    highest = std::max(highest, weights[row]);
  }
  for (double& w : weights) sum += w = std::exp(w - highest);
  for (double& w : weights) w /= sum;
  return weights;
}

}  // namespace fastcache::press
