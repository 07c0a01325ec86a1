// SPDX-License-Identifier: Apache-2.0
// What a press sees of one layer of a sequence: per KV head the candidates, rows that may go or stay. They
// are a head's last rows; rows in front of them stay anyhow (new_rows_only, see compress.h) and are not
// shown.
//
// A view: sequence, pool and record must stay alive and unchanged. Any number of threads may read at once.
#pragma once

#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/query_record.h"

namespace fastcache::press {

class LayerInput {
 public:
  LayerInput(const kv::PagePool& pool, const kv::Sequence& sequence, int layer, bool new_rows_only,
             const model::QueryRecord* record = nullptr)
      : memory_(pool.memory()),
        head_dim_(pool.head_dim()),
        sequence_(&sequence),
        layer_(layer),
        new_rows_only_(new_rows_only),
        record_(record) {}

  int layer() const { return layer_; }
  int n_kv_heads() const { return sequence_->shape().n_kv_heads; }
  int head_dim() const { return head_dim_; }
  const kv::Sequence& sequence() const { return *sequence_; }

  // The rows in front of the candidates.
  int n_staying(int head) const { return new_rows_only_ ? sequence_->rows_compressed(layer_, head) : 0; }
  int n_rows(int head) const { return sequence_->rows_held(layer_, head) - n_staying(head); }  // candidates
  int token(int head, int row) const {  // the token that a candidate stands for
    return sequence_->row_token(layer_, head, n_staying(head) + row);
  }

  // Candidates [begin, begin + n), as stored, f32. k, v: [n, head_dim].
  void read_keys(int head, int begin, int n, float* k) const { read(head, begin, n, k, nullptr); }
  void read_values(int head, int begin, int n, float* v) const { read(head, begin, n, nullptr, v); }

  // The same for all rows that the head holds, those in front included: queries look at them too.
  int n_held(int head) const { return sequence_->rows_held(layer_, head); }
  int held_token(int head, int row) const { return sequence_->row_token(layer_, head, row); }
  void read_held_keys(int head, int begin, int n, float* k) const {
    read(head, begin - n_staying(head), n, k, nullptr);
  }

  // What was kept of the queries, as needs() asked; null where it asked for nothing. There may be fewer last
  // queries than asked for: no more than the tokens computed since the sequence began or was taken up again.
  const model::QueryRecord* record() const { return record_; }

 private:
  void read(int head, int begin, int n, float* k, float* v) const;

  kv::PageMemory memory_;
  int head_dim_ = 0;
  const kv::Sequence* sequence_ = nullptr;
  int layer_ = 0;
  bool new_rows_only_ = false;
  const model::QueryRecord* record_ = nullptr;
};

}  // namespace fastcache::press
