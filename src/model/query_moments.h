// SPDX-License-Identifier: Apache-2.0
// Mean and covariance of a sequence's queries before RoPE, per layer and query head, summed up token by token
// as steps compute them. Every sum is taken in the order of tokens: no bit depends on chunking or threads.
// Owner: as QueryRecord (query_record.h). add() may run on several threads at once for different parts.
#pragma once

#include <cstddef>
#include <vector>

namespace fastcache::model {

class QueryMoments {
 public:
  static constexpr int kPartChannels = 16;  // rows of the covariance that one call of add() sums up

  QueryMoments() = default;
  // Of the tokens [first_token, end_token).
  QueryMoments(int n_layers, int n_heads, int head_dim, int first_token, int end_token);

  bool wanted() const { return n_heads_ > 0; }
  int first_token() const { return first_token_; }
  int n_tokens() const { return n_tokens_; }
  size_t bytes() const { return sums_.size() * sizeof(float); }

  // n more tokens, the first of them `token`. q: of the head, [n, stride], head_dim used. Tokens that are not
  // wanted are left out; all others come once and in order.
  void add(int layer, int head, int part, int token, int n, const float* q, size_t stride) noexcept;

  // mean: [head_dim]; covariance: [head_dim, head_dim], divided by the number of tokens. Zeros without
  // tokens.
  void get(int layer, int head, double* mean, double* covariance) const;

 private:
  size_t head_size() const { return static_cast<size_t>(head_dim_ + 2) * head_dim_; }
  const float* of(int layer, int head) const {
    return sums_.data() + static_cast<size_t>(layer * n_heads_ + head) * head_size();
  }

  int n_heads_ = 0, head_dim_ = 0, first_token_ = 0, n_tokens_ = 0;
  // [n_layers, n_heads, {origin [head_dim], sums [head_dim], products [head_dim, head_dim]}]. The first
  // token's query is the origin of all others: products of large means would swallow the covariance. Of the
  // products those right of the diagonal are summed up, by whole blocks.
  std::vector<float> sums_;
};

}  // namespace fastcache::model
