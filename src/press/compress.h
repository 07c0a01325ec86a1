// SPDX-License-Identifier: Apache-2.0
// The compress stage: a press, applied to a sequence whose rows are all written.
//
// Owner: the engine thread, between steps. plan_compression() reads pages on the compute threads and changes
// nothing; commit_compression() changes the sequence, one (layer, head) at a time, on the calling thread.
// Logical numbers (token_count, next_position, row tokens) never change.
#pragma once

#include <cstdint>
#include <vector>

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "press/press.h"

namespace fastcache::press {

struct CompressJob {
  const Press* press = nullptr;
  Budget budget;
  kv::PagePool* pool = nullptr;  // the sequence's
  kv::Sequence* sequence = nullptr;
  // The next turn of a conversation: rows that came out of a compression already stay, those behind them are
  // the candidates. Otherwise all rows are, and the earlier ones can be removed a second time. What a ratio
  // or a budget counts then: Budget::rows_kept.
  bool new_rows_only = false;
  const model::QueryRecord* record = nullptr;  // the sequence's, where the press needs queries
  // The model's layers with a sliding window, null where there are none. There only rows that a later query
  // sees are candidates and count; queries' attention is shared out among these. The others, as far as their
  // pages are still there, go with the head's first compression. So it does not matter when pages were freed.
  const attention::LocalLayers* local = nullptr;
  // [n_layers], the model's; empty unless the press needs them.
  std::span<const linear::PackedMatrix* const> output_weights{};
};

struct PlannedHead {
  int layer = 0;
  int head = 0;
  int n_before = 0;             // rows held when planned
  int n_unseen = 0;             // of them in front, what no later query sees: never among those that stay
  std::vector<int32_t> rows{};  // that stay, of all rows held, strictly ascending
  int n_quantized = 0;          // the first of them become `type`, where they are not quantised already
  kv::KvType type = kv::KvType::q4;
  int first_new = 0;            // of rows, the first that a new row takes the place of; all behind it are
  std::vector<float> k{}, v{};  // [rows - first_new, head_dim]: the new rows; empty: none
  std::vector<float> bias{};    // [rows - first_new], or empty: 0
};

struct CompressResult {
  int64_t rows_before = 0;  // held by all heads together, unseen ones aside
  int64_t rows_after = 0;
  int64_t bytes_freed = 0;  // by the pool's account; below 0 where kept rows had to be copied out of pages
                            //   that others still own
  std::vector<PlannedHead> uncommitted{};  // no page for them; these heads are as they were
};

// [pairs whose rows or formats change], those that lose most rows first: what they free helps the others.
// Throws Error (unsupported) for an edit that the pages cannot carry.
std::vector<PlannedHead> plan_compression(const CompressJob& job, ComputePool& threads);

// The sequence must be as it was when planned.
CompressResult commit_compression(const CompressJob& job, std::vector<PlannedHead> plan);

// Both.
CompressResult compress(const CompressJob& job, ComputePool& threads);

}  // namespace fastcache::press
