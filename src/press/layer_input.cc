// SPDX-License-Identifier: Apache-2.0
#include "press/layer_input.h"

#include <cassert>

#include "kv/head_reader.h"

namespace fastcache::press {

LayerInput LayerInput::seen_from(int32_t position) const {
  assert(!is_narrow_);
  const kv::TokenTable& tokens = sequence_->tokens();
  const int32_t* positions = tokens.positions();
  const auto first_token = std::lower_bound(positions, positions + tokens.size(), position) - positions;
  LayerInput seen = *this;
  for (int head = 0; head < n_kv_heads(); ++head)
    seen.n_unseen_.push_back(sequence_->table(layer_, head).rows_before_token(static_cast<int>(first_token)));
  return seen;
}

LayerInput LayerInput::narrowed(const std::vector<std::vector<int32_t>>& rows) const {
  LayerInput narrow = *this;
  narrow.is_narrow_ = true;
  narrow.chosen_ = rows;
  for (int head = 0; head < n_kv_heads(); ++head)
    for (int32_t& row : narrow.chosen_[head]) row = row_behind(head, row);
  return narrow;
}

void LayerInput::read_rows(int head, int begin, int n, float* k, float* v) const {
  const kv::HeadRows rows = sequence_->head_rows(layer_, head);
  while (n > 0) {  // run by run of rows that lie side by side
    const int first = row_behind(head, begin);
    int run = is_narrow_ ? 1 : n;
    while (run < n && row_behind(head, begin + run) == first + run) ++run;
    kv::read_head_rows(memory_, head_dim_, rows, n_in_front(head) + first, run, k, v);
    const size_t floats = static_cast<size_t>(run) * head_dim_;
    if (k != nullptr) k += floats;
    if (v != nullptr) v += floats;
    begin += run;
    n -= run;
  }
}

void LayerInput::read_biases(int head, int begin, int n, float* bias) const {
  const kv::HeadRows rows = sequence_->head_rows(layer_, head);
  if (!is_narrow_) return kv::read_head_biases(rows, n_in_front(head) + begin, n, bias);
  for (int i = 0; i < n; ++i)
    kv::read_head_biases(rows, n_in_front(head) + row_behind(head, begin + i), 1, bias + i);
}

}  // namespace fastcache::press
