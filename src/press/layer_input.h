// SPDX-License-Identifier: Apache-2.0
// What a press sees of one layer of a sequence: per KV head the candidates, rows that may go or stay. They
// are a head's last rows; rows in front of them stay anyhow (new_rows_only, see compress.h) and are not
// shown.
//
// A view: sequence, pool and record must stay alive and unchanged. Any number of threads may read at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "linear/linear.h"
#include "model/query_record.h"

namespace fastcache::press {

class LayerInput {
 public:
  LayerInput(const kv::PagePool& pool, const kv::Sequence& sequence, int layer, bool new_rows_only,
             const model::QueryRecord* record = nullptr, const linear::PackedMatrix* output_weights = nullptr)
      : memory_(pool.memory()),
        head_dim_(pool.head_dim()),
        sequence_(&sequence),
        layer_(layer),
        new_rows_only_(new_rows_only),
        record_(record),
        output_weights_(output_weights) {}

  int layer() const { return layer_; }
  int n_kv_heads() const { return sequence_->shape().n_kv_heads; }
  int head_dim() const { return head_dim_; }
  const kv::Sequence& sequence() const { return *sequence_; }

  // The same layer without the rows before a position: those that no later query sees, in a layer with a
  // sliding window. They are neither candidates nor do they stay, and nothing counts them. For a view that is
  // not narrowed.
  LayerInput seen_from(int32_t position) const;

  // The same layer with fewer candidates. rows: [n_kv_heads], candidates of this view, strictly ascending.
  LayerInput narrowed(const std::vector<std::vector<int32_t>>& rows) const;

  // The rows in front of all others that are not shown, see seen_from().
  int n_unseen(int head) const { return n_unseen_.empty() ? 0 : n_unseen_[head]; }
  // The rows in front of the candidates.
  int n_staying(int head) const {
    if (!new_rows_only_) return 0;
    return std::max(0, sequence_->rows_compressed(layer_, head) - n_unseen(head));
  }
  int n_rows(int head) const {  // candidates
    return is_narrow_ ? static_cast<int>(chosen_[head].size()) : n_behind(head);
  }
  int n_behind(int head) const {  // all rows behind those that stay, of a narrowed view too
    return sequence_->rows_held(layer_, head) - n_unseen(head) - n_staying(head);
  }
  int row_behind(int head, int row) const {  // which of them a candidate is; rows that stay are below 0
    return is_narrow_ && row >= 0 ? chosen_[head][row] : row;
  }
  int token(int head, int row) const {  // the token that a candidate stands for
    return sequence_->row_token(layer_, head, n_in_front(head) + row_behind(head, row));
  }

  // Candidates [begin, begin + n), as stored, f32. k, v: [n, head_dim].
  void read_keys(int head, int begin, int n, float* k) const { read_rows(head, begin, n, k, nullptr); }
  void read_values(int head, int begin, int n, float* v) const { read_rows(head, begin, n, nullptr, v); }
  void read_rows(int head, int begin, int n, float* k, float* v) const;

  // What is added to their scores, [n].
  void read_biases(int head, int begin, int n, float* bias) const;

  // The same for the rows in front and the candidates together: queries look at all of them.
  int n_held(int head) const { return n_staying(head) + n_rows(head); }
  int held_token(int head, int row) const { return token(head, row - n_staying(head)); }
  void read_held_keys(int head, int begin, int n, float* k) const {
    read_rows(head, begin - n_staying(head), n, k, nullptr);
  }
  void read_held_biases(int head, int begin, int n, float* bias) const {
    read_biases(head, begin - n_staying(head), n, bias);
  }
  bool has_biases(int head) const { return sequence_->table(layer_, head).bias != nullptr; }

  // What was kept of the queries, as needs() asked; null where it asked for nothing. There may be fewer last
  // queries than asked for: no more than the tokens computed since the sequence began or was taken up again.
  const model::QueryRecord* record() const { return record_; }
  // How this layer's queries look at keys, from that record.
  attention::AttentionShape attention() const { return attention::layer_shape(record_->attention, layer_); }

  // The layer's W_O, [n_embd, n_heads * head_dim], as it is packed (linear::get_row_part()); null where
  // needs() did not ask for it.
  const linear::PackedMatrix* output_weights() const { return output_weights_; }

 private:
  int n_in_front(int head) const { return n_unseen(head) + n_staying(head); }

  kv::PageMemory memory_;
  int head_dim_ = 0;
  const kv::Sequence* sequence_ = nullptr;
  int layer_ = 0;
  bool new_rows_only_ = false;
  std::vector<int> n_unseen_{};  // [n_kv_heads]; empty: none
  bool is_narrow_ = false;
  std::vector<std::vector<int32_t>> chosen_{};  // [n_kv_heads] rows behind those that stay, if narrow
  const model::QueryRecord* record_ = nullptr;
  const linear::PackedMatrix* output_weights_ = nullptr;
};

}  // namespace fastcache::press
