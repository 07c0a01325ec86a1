// SPDX-License-Identifier: Apache-2.0
// How a batch is cut into tasks. A unit is a tile of query rows of one (sequence, KV head); a unit that would
// keep one thread busy for too long is cut along KV at the fixed split boundaries. The cut never changes a
// result. Owner: the engine thread plans; then all compute threads read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "attention/attention.h"
#include "attention/attention_kernel.h"

namespace fastcache::attention {

constexpr int kMaxTileRows = 96;
constexpr int kTileFloats = 6144;  // tile rows x head_dim: what one thread keeps in its L2 (and on its stack)

// A row of a tile is (query of the sequence) * group + (query head within the KV head's group).
struct Unit {
  int sequence = 0;
  int kv_head = 0;
  int first_row = 0;
  int n_rows = 0;
  int n_splits = 0;     // of the head's table; the first holds entry 0, see split_entries()
  int n_pieces = 1;     // tasks that share the unit; 1 = no partial results needed
  size_t partials = 0;  // where the unit's partial results begin: [n_splits, n_rows, partial_floats()]
};

struct Task {
  int unit = 0;
  int first_split = 0;
  int n_splits = 0;
  float cost = 0.0f;
};

// A partial result in memory: max, sum, acc[head_dim].
constexpr size_t partial_floats(int head_dim) { return static_cast<size_t>(head_dim) + 2; }

struct AttentionPlan {
  std::vector<Unit> units;
  std::vector<Task> tasks;  // largest first
  std::vector<float> partials;
  std::unique_ptr<std::atomic<int>[]>
      pending;  // [units]: pieces not finished; who brings it to 0 merges and resets
  size_t pending_size = 0;

  void make(const AttentionBatch& batch, int n_threads);

 private:
  void add_units(const AttentionBatch& batch, int sequence, int kv_head);
  void cut(const AttentionBatch& batch, int n_threads);
};

int tile_rows(int head_dim);

struct SplitEntries {  // [begin, end) of a head's table
  size_t begin = 0;
  size_t end = 0;
};
// Of a unit's split. Empty splits of a table's front that was freed do not count.
SplitEntries split_entries(const kv::HeadRows& head, int split);

}  // namespace fastcache::attention
