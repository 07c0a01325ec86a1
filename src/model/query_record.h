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

struct QueryRecord {
  attention::AttentionShape attention;  // of the model: how its queries look at keys
  LastQueries last{};
  QueryMoments moments{};

  size_t bytes() const { return last.bytes() + moments.bytes(); }
};

}  // namespace fastcache::model
