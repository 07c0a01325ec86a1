// SPDX-License-Identifier: Apache-2.0
// The lanes of the vectors are queries: each has its softmax to itself, so no sum is ever folded but the last
// one, over the queries, and all CPUs give the same bits. Softmax goes over the rows tile by tile; weights
// are stored against the maximum known so far and corrected per tile at the end.
#include "press/query_attention.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "base/simd.h"
#include "press/query_math.h"

namespace fastcache::press {
namespace {

constexpr int kWidth = 16;     // lanes of the widest vector
constexpr int kTileRows = 64;  // rows whose weights share a maximum
constexpr float kUnseen = -std::numeric_limits<float>::infinity();
constexpr float kNoMaximum = -FLT_MAX;  // finite: no inf - inf

// One tile of the softmax of kColumns queries. weights: [n_rows, kColumns], scores that become e^(score -
// maximum). maximum, sum: [kColumns], so far.
FC_CLONES void soften_tile(float* weights, int n_rows, float* maximum, float* sum) {
  float highest[kColumns];
  for (int i = 0; i < kColumns; ++i) highest[i] = maximum[i];
  for (int row = 0; row < n_rows; ++row) {
    float* w = weights + static_cast<size_t>(row) * kColumns;
    for (int i = 0; i < kColumns; ++i) {
      const float score = std::abs(w[i]) <= FLT_MAX ? w[i] : kUnseen;  // neither NaN nor infinite
      highest[i] = score > highest[i] ? score : highest[i];
      w[i] = score;
    }
  }
  float total[kColumns];
  for (int i = 0; i < kColumns; ++i) total[i] = sum[i] * exp_of_negative(maximum[i] - highest[i]);
  for (int row = 0; row < n_rows; ++row) {
    float* w = weights + static_cast<size_t>(row) * kColumns;
    for (int i = 0; i < kColumns; ++i) {
      w[i] = exp_of_negative(w[i] - highest[i]);
      total[i] += w[i];
    }
  }
  for (int i = 0; i < kColumns; ++i) {
    maximum[i] = highest[i];
    sum[i] = total[i];
  }
}

// sums: [n_rows] += the weights of each row, times the lanes' factors.
FC_CLONES void add_rows(const float* weights, int n_rows, const float* factors, float* sums) {
  for (int row = 0; row < n_rows; ++row) {
    const float* w = weights + static_cast<size_t>(row) * kColumns;
    float lanes[kWidth] = {};
    for (int block = 0; block < kColumns; block += kWidth)
      for (int i = 0; i < kWidth; ++i) lanes[i] += w[block + i] * factors[block + i];
    for (int i = 0; i < 8; ++i) lanes[i] += lanes[i + 8];
    for (int i = 0; i < 4; ++i) lanes[i] += lanes[i + 4];
    sums[row] += (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
  }
}

// sums: [n_rows] += the same, lane by lane in order.
FC_CLONES void add_rows_in_order(const float* weights, int n_rows, const float* factors, int n_lanes,
                                 double* sums) {
  for (int lane = 0; lane < n_lanes; ++lane)
    for (int row = 0; row < n_rows; ++row)
      sums[row] += static_cast<double>(weights[static_cast<size_t>(row) * kColumns + lane] * factors[lane]);
}

FC_CLONES void raise_rows(const float* weights, int n_rows, const float* factors, int n_lanes,
                          float* highest) {
  for (int row = 0; row < n_rows; ++row)
    for (int lane = 0; lane < n_lanes; ++lane)
      highest[row] =
          std::max(highest[row], weights[static_cast<size_t>(row) * kColumns + lane] * factors[lane]);
}

// The queries of one pass: lane = (token - first token) * group + head of the group - begin.
struct Lanes {
  const model::LastQueries* queries = nullptr;
  int begin = 0, n = 0;
  int first_token = 0, group = 0;
  int token(int lane) const { return first_token + (begin + lane) / group; }
};

void load_queries(const LayerInput& layer, int head, const Lanes& lanes, float* queries) {
  const model::QueryRecord& record = *layer.record();
  const int head_dim = layer.head_dim();
  std::fill_n(queries, static_cast<size_t>(head_dim) * kColumns, 0.0f);
  for (int lane = 0; lane < lanes.n; ++lane) {
    const int of_group = (lanes.begin + lane) % lanes.group;
    const float* q = lanes.queries->at(layer.layer(), lanes.token(lane)) +
                     static_cast<size_t>(head * lanes.group + of_group) * head_dim;
    for (int d = 0; d < head_dim; ++d) queries[d * kColumns + lane] = q[d] * record.attention.scale;
  }
}

void cap(float softcap, float* scores, int n) {
  for (int i = 0; i < n; ++i) scores[i] = softcap * std::tanh(scores[i] / softcap);
}

// Of rows that stand for several.
void add_biases(const LayerInput& layer, int head, int begin, int n_rows, float* scores) {
  if (!layer.has_biases(head)) return;
  float bias[kTileRows];
  layer.read_held_biases(head, begin, n_rows, bias);
  for (int row = 0; row < n_rows; ++row)
    for (int i = 0; i < kColumns; ++i) scores[row * kColumns + i] += bias[row];
}

// Of the tokens, the last that a query sees: its own, but for those in a picture that is read both ways.
int last_seen(const kv::TokenTable& tokens, int query) { return query + tokens[query].sees_behind; }

// Rows behind what a query sees, and those in front of its sliding window.
void hide_unseen(const LayerInput& layer, int head, int begin, int n_rows, const Lanes& lanes,
                 float* scores) {
  const int window = layer.attention().window;
  const kv::TokenTable& tokens = layer.sequence().tokens();
  if (window == 0 && layer.held_token(head, begin + n_rows - 1) <= last_seen(tokens, lanes.token(0))) return;
  for (int row = 0; row < n_rows; ++row) {
    const int token = layer.held_token(head, begin + row);
    for (int lane = 0; lane < lanes.n; ++lane) {
      const int query = lanes.token(lane);
      const bool too_old = window > 0 && tokens.position(token) <= tokens.position(query) - window;
      if (token > last_seen(tokens, query) || too_old) scores[row * kColumns + lane] = kUnseen;
    }
  }
}

// One pass over the rows that its queries may see.
struct Pass {
  float maximum[kColumns], sum[kColumns] = {};
  int n_rows = 0;
};

void soften(const LayerInput& layer, int head, const Lanes& lanes, AttentionScratch& s, Pass& pass) {
  load_queries(layer, head, lanes, s.queries.data());
  const int head_dim = layer.head_dim(), n_held = layer.n_held(head);
  const int last_token = last_seen(layer.sequence().tokens(), lanes.token(lanes.n - 1));
  std::fill_n(pass.maximum, kColumns, kNoMaximum);
  for (int begin = 0; begin < n_held; begin += kTileRows) {
    if (layer.held_token(head, begin) > last_token) break;
    const int n = std::min(kTileRows, n_held - begin);
    float* weights = s.weights.data() + static_cast<size_t>(begin) * kColumns;
    for (int lane = 0; lane < lanes.n; lane += kHalfColumns)  // others have factor 0
      row_products(s.keys.data() + static_cast<size_t>(begin) * head_dim,
                   (n + kBlockRows - 1) / kBlockRows * kBlockRows, head_dim, head_dim,
                   s.queries.data() + lane, weights + lane);
    if (layer.record()->attention.softcap > 0) cap(layer.record()->attention.softcap, weights, n * kColumns);
    add_biases(layer, head, begin, n, weights);
    hide_unseen(layer, head, begin, n, lanes, weights);
    soften_tile(weights, n, pass.maximum, pass.sum);
    std::copy_n(pass.maximum, kColumns, s.maxima.data() + static_cast<size_t>(begin / kTileRows) * kColumns);
    pass.n_rows = begin + n;
  }
}

// add(first row, rows, their weights, factors of the lanes), for the candidates among the pass's rows.
template <typename Add>
void for_candidates(const LayerInput& layer, int head, const Lanes& lanes, const AttentionScratch& s,
                    const Pass& pass, const Add& add) {
  const int n_staying = layer.n_staying(head);
  for (int begin = n_staying / kTileRows * kTileRows; begin < pass.n_rows; begin += kTileRows) {
    const float* then = s.maxima.data() + static_cast<size_t>(begin / kTileRows) * kColumns;
    float factors[kColumns] = {};
    for (int lane = 0; lane < lanes.n; ++lane)
      if (pass.sum[lane] > 0)
        factors[lane] = exp_of_negative(then[lane] - pass.maximum[lane]) / pass.sum[lane];
    const int from = std::max(begin, n_staying), to = std::min(begin + kTileRows, pass.n_rows);
    add(from - n_staying, to - from, s.weights.data() + static_cast<size_t>(from) * kColumns, factors);
  }
}

// each(lanes, pass) for the queries of the last n_tokens of `queries`, 64 at a time.
template <typename Each>
void for_each_pass(const LayerInput& layer, int head, const model::LastQueries& queries, int n_tokens,
                   AttentionScratch& s, const Each& each) {
  const int n_held = layer.n_held(head);
  if (n_tokens == 0 || n_held == 0) return;
  const size_t n_tiles = (static_cast<size_t>(n_held) + kTileRows - 1) / kTileRows;
  s.keys.resize(std::max(s.keys.size(), n_tiles * kTileRows * layer.head_dim()));
  s.weights.resize(std::max(s.weights.size(), n_tiles * kTileRows * kColumns));
  s.maxima.resize(std::max(s.maxima.size(), n_tiles * kColumns));
  s.queries.resize(static_cast<size_t>(layer.head_dim()) * kColumns);
  layer.read_held_keys(head, 0, n_held, s.keys.data());

  const int group = queries_per_kv_head(layer), n_queries = n_tokens * group;
  Lanes lanes{.queries = &queries,
              .first_token = queries.first_token() + queries.n_tokens() - n_tokens,
              .group = group};
  for (lanes.begin = 0; lanes.begin < n_queries; lanes.begin += kColumns) {
    lanes.n = std::min(kColumns, n_queries - lanes.begin);
    Pass pass;
    soften(layer, head, lanes, s, pass);
    each(lanes, pass);
  }
}

// by_token: [tokens]; those of the candidates are changed by change(weights, rows, factors, lanes, values).
template <typename Value, typename Change>
void observe_head(const LayerInput& layer, int head, const model::LastQueries& queries, AttentionScratch& s,
                  std::span<Value> by_token, const Change& change) {
  int n_rows = 0;  // those of an extra pass stand behind them
  while (n_rows < layer.n_rows(head) && layer.token(head, n_rows) < static_cast<int>(by_token.size()))
    ++n_rows;
  if (n_rows == 0) return;
  std::vector<Value> values(n_rows);
  for (int row = 0; row < n_rows; ++row) values[row] = by_token[layer.token(head, row)];
  for_each_pass(layer, head, queries, queries.n_tokens(), s, [&](const Lanes& lanes, const Pass& pass) {
    for_candidates(layer, head, lanes, s, pass,
                   [&](int first, int n, const float* weights, const float* factors) {
                     const int n_here = std::min(n, n_rows - first);
                     if (n_here > 0) change(weights, n_here, factors, lanes.n, values.data() + first);
                   });
  });
  for (int row = 0; row < n_rows; ++row) by_token[layer.token(head, row)] = values[row];
}

}  // namespace

int window_tokens(const LayerInput& layer, int window) {
  return layer.record() == nullptr ? 0 : std::min(window, layer.record()->last.n_tokens());
}

int first_window_token(const LayerInput& layer, int window) {
  if (layer.record() == nullptr) return layer.sequence().token_count();
  const model::LastQueries& last = layer.record()->last;
  return last.first_token() + last.n_tokens() - window_tokens(layer, window);
}

void attention_sums(const LayerInput& layer, int head, int n_tokens, AttentionScratch& s,
                    std::span<float> sums) {
  std::fill(sums.begin(), sums.end(), 0.0f);
  if (n_tokens == 0) return;
  for_each_pass(layer, head, layer.record()->last, n_tokens, s, [&](const Lanes& lanes, const Pass& pass) {
    for_candidates(layer, head, lanes, s, pass,
                   [&](int first, int n, const float* weights, const float* factors) {
                     add_rows(weights, n, factors, sums.data() + first);
                   });
  });
}

void observe_attention(const LayerInput& layer, AttentionScratch& s, model::QueryRecord& record) {
  for (int head = 0; head < layer.n_kv_heads(); ++head)
    observe_head(layer, head, record.chunk, s, record.received.of(layer.layer(), head), add_rows_in_order);
}

void observe_highest(const LayerInput& layer, AttentionScratch& s, model::QueryRecord& record) {
  for (int head = 0; head < layer.n_kv_heads(); ++head)
    observe_head(layer, head, record.chunk, s, record.probed.of(layer.layer(), head), raise_rows);
}

}  // namespace fastcache::press
