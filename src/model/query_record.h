// SPDX-License-Identifier: Apache-2.0
// What the steps of one sequence leave behind for a press that looks at queries. Made before the steps that
// fill it: they write, in the operations of rope and attention, into memory that is there.
//
// Owner: the engine thread, which makes, hands over (StepSequence::record) and drops it. During a step
// compute threads write disjoint parts; what they write depends on the tokens alone, not on chunking or
// threads.
#pragma once

#include <cassert>
#include <cstddef>
#include <span>
#include <vector>

#include "attention/attention.h"
#include "model/query_moments.h"

namespace fastcache::model {

constexpr int kMostLastQueries = 1024;

// The queries, after RoPE, of the tokens [first_token, end_token) in every layer.
class LastQueries {
 public:
  LastQueries() = default;
  LastQueries(int n_layers, int n_heads, int head_dim, int first_token, int end_token);

  int first_token() const { return first_token_; }
  int n_tokens() const { return n_tokens_; }
  size_t bytes() const { return queries_.size() * sizeof(float); }

  // q: [n_heads * head_dim]. Tokens that are not kept are ignored.
  void set(int layer, int token, const float* q) noexcept;
  // [n_heads * head_dim]; token in [first_token, end_token).
  const float* at(int layer, int token) const {
    assert(token >= first_token_ && token < first_token_ + n_tokens_);
    return queries_.data() + offset(layer, token);
  }

 private:
  size_t offset(int layer, int token) const {
    return (static_cast<size_t>(layer) * n_tokens_ + static_cast<size_t>(token - first_token_)) * width_;
  }

  int first_token_ = 0, n_tokens_ = 0;
  size_t width_ = 0;
  std::vector<float> queries_;  // [n_layers, n_tokens, n_heads * head_dim]
};

// What each token's rows received of the queries of the tokens from first_query on, so far.
struct ReceivedAttention {
  ReceivedAttention() = default;
  ReceivedAttention(int n_layers, int n_kv_heads, int first_query, int end_token)
      : n_kv_heads(n_kv_heads),
        n_tokens(end_token),
        first_query(first_query),
        sums(static_cast<size_t>(n_layers) * n_kv_heads * n_tokens) {}

  bool wanted() const { return n_kv_heads > 0; }
  std::span<double> of(int layer, int head) {  // [n_tokens]: summed over queries and the group's heads
    return std::span(sums).subspan(offset(layer, head), static_cast<size_t>(n_tokens));
  }
  std::span<const double> of(int layer, int head) const {
    return std::span(sums).subspan(offset(layer, head), static_cast<size_t>(n_tokens));
  }
  size_t offset(int layer, int head) const {
    return static_cast<size_t>(layer * n_kv_heads + head) * n_tokens;
  }

  int n_kv_heads = 0, n_tokens = 0, first_query = 0;
  std::vector<double> sums{};  // [n_layers, n_kv_heads, n_tokens]
};

// The most that each token's rows received of any query of an extra pass, so far.
struct ProbedAttention {
  ProbedAttention() = default;
  ProbedAttention(int n_layers, int n_kv_heads, int n_tokens)
      : n_kv_heads(n_kv_heads),
        n_tokens(n_tokens),
        maxima(static_cast<size_t>(n_layers) * n_kv_heads * n_tokens) {}

  bool wanted() const { return n_kv_heads > 0; }
  std::span<float> of(int layer, int head) {  // [n_tokens]: over queries and the group's heads
    return std::span(maxima).subspan(offset(layer, head), static_cast<size_t>(n_tokens));
  }
  std::span<const float> of(int layer, int head) const {
    return std::span(maxima).subspan(offset(layer, head), static_cast<size_t>(n_tokens));
  }
  size_t offset(int layer, int head) const {
    return static_cast<size_t>(layer * n_kv_heads + head) * n_tokens;
  }

  int n_kv_heads = 0, n_tokens = 0;
  std::vector<float> maxima{};  // [n_layers, n_kv_heads, n_tokens]
};

struct QueryRecord {
  attention::AttentionShape attention;  // of the model: how its queries look at keys
  LastQueries last{};
  QueryMoments moments{};
  ReceivedAttention received{};
  ProbedAttention probed{};
  LastQueries chunk{};  // where received or probed is wanted: of the tokens of one step, to be added when it
                        // is over

  size_t bytes() const {
    return last.bytes() + moments.bytes() + chunk.bytes() + received.sums.size() * sizeof(double) +
           probed.maxima.size() * sizeof(float);
  }
};

}  // namespace fastcache::model
