// SPDX-License-Identifier: Apache-2.0
// The query rows of a tile: where they lie in q and out, and their packed form for a kernel.
#pragma once

#include "attention/attention.h"
#include "attention/attention_kernel.h"
#include "attention/attention_plan.h"

namespace fastcache::attention {

struct TileRows {
  const AttentionBatch& batch;
  const AttentionSequence& sequence;
  const Unit& unit;

  int heads_per_kv() const { return batch.shape.n_heads / batch.shape.n_kv_heads; }
  int query(int row) const { return (unit.first_row + row) / heads_per_kv(); }
  int head(int row) const { return unit.kv_head * heads_per_kv() + (unit.first_row + row) % heads_per_kv(); }
  const float* q(int row) const { return batch.q + batch_row(row) * batch.q_stride + column(row); }
  float* out(int row) const { return batch.out + batch_row(row) * batch.out_stride + column(row); }

 private:
  size_t batch_row(int row) const {
    return static_cast<size_t>(sequence.first_query) + static_cast<size_t>(query(row));
  }
  size_t column(int row) const {
    return static_cast<size_t>(head(row)) * static_cast<size_t>(batch.shape.head_dim);
  }
};

// x: [n], a row of q or out: they lie too far apart for the processor to guess the next.
inline void prefetch_row(const float* x, int n) {
  for (int c = 0; c < n; c += 16) __builtin_prefetch(x + c);
}

// Packed anew whenever the type of page or the position_delta changes. Never initialised as a whole.
class PackedQueries {
 public:
  PackedQueries() {}  // NOLINT(modernize-use-equals-default): leaves the buffers alone

  void pack(const AttentionKernel& kernel, const TileRows& rows, kv::KvType type, int32_t delta);
  // Of the block that begins at this row.
  const void* block(int first_row, int head_dim) const {
    return packed_ + static_cast<size_t>(first_row) * packed_bytes(head_dim);
  }

 private:
  alignas(64) std::byte packed_[sizeof(float) * kTileFloats + size_t{128} * kMaxTileRows];
  alignas(64) float rows_[kBlockRows * kMaxHeadDim];  // one block before packing
  bool valid_ = false;
  kv::KvType type_ = kv::KvType::bf16;
  int32_t delta_ = 0;
};

}  // namespace fastcache::attention
