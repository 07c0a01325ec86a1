// SPDX-License-Identifier: Apache-2.0
#include "model/query_record.h"

#include <algorithm>

namespace fastcache::model {

LastQueries::LastQueries(int n_layers, int n_heads, int head_dim, int first_token, int end_token)
    : first_token_(first_token),
      n_tokens_(end_token - first_token),
      width_(static_cast<size_t>(n_heads) * head_dim),
      queries_(static_cast<size_t>(n_layers) * n_tokens_ * width_) {
  assert(first_token >= 0 && end_token >= first_token);
}

void LastQueries::set(int layer, int token, const float* q) noexcept {
  if (token < first_token_ || token >= first_token_ + n_tokens_) return;
  std::copy_n(q, width_, queries_.data() + offset(layer, token));
}

}  // namespace fastcache::model
