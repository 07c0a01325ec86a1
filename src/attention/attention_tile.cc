// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "attention/attention_group.h"
#include "attention/attention_queries.h"

namespace fastcache::attention {
namespace {

struct Weighted {  // a result of online softmax, not yet divided by the sum
  float max = kNoScore;
  float sum = 0.0f;
};

// Not initialised as a whole: only what the tile's rows use is ever touched.
struct TileState {
  alignas(64) float acc[2][kTileFloats];  // [rows, head_dim], the split at work and the splits before it
  alignas(64) float lane_sum[kMaxTileRows * kLanes];
  PackedQueries queries;
  GroupFactors factors;
  float max[kMaxTileRows];
  float total_max[kMaxTileRows];
  float total_sum[kMaxTileRows];
  RowLimits limits[kMaxTileRows];
};

class TaskRun {
 public:
  TaskRun(const AttentionKernel& kernel, const AttentionBatch& batch, AttentionPlan& plan, const Task& task,
          TileState& state)
      : kernel_(kernel),
        batch_(batch),
        plan_(plan),
        task_(task),
        unit_(plan.units[static_cast<size_t>(task.unit)]),
        sequence_(batch.sequences[static_cast<size_t>(unit_.sequence)]),
        head_(sequence_.heads[static_cast<size_t>(unit_.kv_head)]),
        state_(state),
        rows_{batch, sequence_, unit_},
        head_dim_(static_cast<size_t>(batch.shape.head_dim)) {}

  void run();

 private:
  void find_limits();
  bool sees(size_t begin_entry, size_t end_entry) const;
  void run_split(size_t begin_entry, size_t end_entry);
  void run_group(const TableGroup& group);
  Weighted split_result(int row) const;
  void fold(Weighted& total, float* total_acc, Weighted part, const float* part_acc) const;
  void fold_split(bool first);
  void store_partials(int split);
  void merge_partials();
  void write_out(int row, float sum, const float* acc) const;

  float* acc(int row) const { return acc_ + static_cast<size_t>(row) * head_dim_; }
  float* total(int row) const { return total_ + static_cast<size_t>(row) * head_dim_; }
  float* partial(int split, int row) const {
    const size_t index =
        static_cast<size_t>(split) * static_cast<size_t>(unit_.n_rows) + static_cast<size_t>(row);
    return plan_.partials.data() + unit_.partials + index * partial_floats(batch_.shape.head_dim);
  }

  const AttentionKernel& kernel_;
  const AttentionBatch& batch_;
  AttentionPlan& plan_;
  const Task& task_;
  const Unit& unit_;
  const AttentionSequence& sequence_;
  const kv::HeadRows& head_;
  TileState& state_;
  const TileRows rows_;
  const size_t head_dim_;
  float* acc_ = state_.acc[0];
  float* total_ = state_.acc[1];
  RowLimits any_;  // rows that at least one query of the tile sees
};

void TaskRun::find_limits() {
  RowLimits limits;
  int of_query = -1;
  for (int row = 0; row < unit_.n_rows; ++row) {
    if (rows_.query(row) != of_query) {
      of_query = rows_.query(row);
      limits = row_limits(batch_.shape, sequence_, head_, of_query);
    }
    state_.limits[row] = limits;
    any_.begin = row == 0 ? limits.begin : std::min(any_.begin, limits.begin);
    any_.end = std::max(any_.end, limits.end);
  }
}

void TaskRun::run_group(const TableGroup& group) {
  state_.queries.pack(kernel_, rows_, group.type, group.delta);
  const auto step = kernel_.step[static_cast<size_t>(group.type)];
  CacheGroup cache = group.cache;
  for (int first = 0; first < unit_.n_rows; first += kBlockRows) {
    QueryBlock block{.n_rows = std::min(kBlockRows, unit_.n_rows - first), .n_entries = cache.n_entries};
    uint64_t visible[kBlockRows];
    uint64_t any = 0;
    bool all = group.full;
    for (int row = 0; row < block.n_rows; ++row) {
      const RowLimits limits = state_.limits[first + row];
      all = all && limits.begin <= group.begin_row && limits.end >= group.end_row;
    }
    if (!all) {
      for (int row = 0; row < block.n_rows; ++row)
        any |= visible[row] = visible_slots(head_, group, state_.limits[first + row]);
      if (any == 0) continue;
      block.n_slots = 64 - std::countl_zero(any);
      if (!kv::is_quantized(group.type))
        block.n_entries = (block.n_slots - 1) / kv::rows_per_page(group.type) + 1;
      block.visible = visible;
    }
    block.q = state_.queries.block(first, batch_.shape.head_dim);
    block.max = state_.max + first;
    block.lane_sum = state_.lane_sum + static_cast<ptrdiff_t>(first) * kLanes;
    block.acc = acc(first);
    step(cache, block);
    std::copy_n(cache.pages, kMaxGroupEntries, cache.next);  // one prefetch is enough
  }
}

bool TaskRun::sees(size_t begin_entry, size_t end_entry) const {
  if (begin_entry >= end_entry) return false;
  const kv::TableEntry& last = head_.entries[end_entry - 1];
  return static_cast<int>(head_.entries[begin_entry]
                              .first_row)<any_.end&& static_cast<int>(last.first_row) + last.rows_used>
      any_.begin;
}

// A split that the tile does not see leaves the empty result, and folding that in changes nothing.
void TaskRun::run_split(size_t begin_entry, size_t end_entry) {
  std::fill_n(state_.max, unit_.n_rows, kNoScore);
  std::fill_n(state_.lane_sum, unit_.n_rows * kLanes, 0.0f);
  std::fill_n(acc_, static_cast<size_t>(unit_.n_rows) * head_dim_, 0.0f);
  for (TablePlace at{begin_entry, 0}; at.entry < end_entry;) {
    const TableGroup group = group_at(batch_, head_, at, end_entry, state_.factors);
    at = group.next;
    if (group.begin_row >= any_.end) break;
    if (group.end_row > std::max(group.begin_row, any_.begin)) run_group(group);
  }
}

Weighted TaskRun::split_result(int row) const {
  const float* lanes = state_.lane_sum + static_cast<ptrdiff_t>(row) * kLanes;
  float sum = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
  return {state_.max[row], sum};
}

void TaskRun::fold(Weighted& total, float* total_acc, Weighted part, const float* part_acc) const {
  const float max = std::max(total.max, part.max);
  const float total_factor = std::exp2(total.max - max);
  const float part_factor = std::exp2(part.max - max);
  total = {max, total.sum * total_factor + part.sum * part_factor};
  kernel_.fold(total_acc, total_factor, part_acc, part_factor, batch_.shape.head_dim);
}

void TaskRun::fold_split(bool first) {
  if (first) std::swap(acc_, total_);
  for (int row = 0; row < unit_.n_rows; ++row) {
    Weighted sum = split_result(row);
    if (!first) {
      const Weighted part = std::exchange(sum, {state_.total_max[row], state_.total_sum[row]});
      fold(sum, total(row), part, acc(row));
    }
    state_.total_max[row] = sum.max;
    state_.total_sum[row] = sum.sum;
  }
}

void TaskRun::store_partials(int split) {
  for (int row = 0; row < unit_.n_rows; ++row) {
    float* to = partial(split, row);
    const Weighted part = split_result(row);
    to[0] = part.max;
    to[1] = part.sum;
    std::copy_n(acc(row), head_dim_, to + 2);
  }
}

// The same folds in the same order as fold_split() would have done.
void TaskRun::merge_partials() {
  for (int row = 0; row < unit_.n_rows; ++row) {
    float* first = partial(0, row);
    Weighted sum{first[0], first[1]};
    for (int split = 1; split < unit_.n_splits; ++split) {
      const float* part = partial(split, row);
      fold(sum, first + 2, {part[0], part[1]}, part + 2);
    }
    write_out(row, sum.sum, first + 2);
  }
}

void TaskRun::write_out(int row, float sum, const float* acc) const {
  if (row + kBlockRows < unit_.n_rows) prefetch_row(rows_.out(row + kBlockRows), batch_.shape.head_dim);
  float* to = rows_.out(row);
  const float factor = sum > 0 ? 1.0f / sum : 0.0f;
  for (size_t c = 0; c < head_dim_; ++c)
    to[c] = acc[c] * factor + 0.0f;  // + 0: hidden rows may turn the sign of a zero
}

void TaskRun::run() {
  find_limits();
  const bool whole = unit_.n_pieces == 1;
  bool first = true;
  for (int split = task_.first_split; split < task_.first_split + task_.n_splits; ++split) {
    const auto [begin, end] = split_entries(head_, split);
    const bool last = split + 1 == task_.n_splits;
    if (whole && !sees(begin, end) && !(first && last)) continue;
    run_split(begin, end);
    if (!whole) {
      store_partials(split);
    } else {
      fold_split(first);
      first = false;
    }
  }
  std::atomic<int>& pending = plan_.pending[static_cast<size_t>(task_.unit)];
  if (whole) {
    for (int row = 0; row < unit_.n_rows; ++row) write_out(row, state_.total_sum[row], total(row));
  } else if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    merge_partials();
    pending.store(unit_.n_pieces, std::memory_order_relaxed);  // the plan may run again
  }
}

}  // namespace

void run_task(const AttentionKernel& kernel, const AttentionBatch& batch, AttentionPlan& plan,
              const Task& task) noexcept {
  TileState state;
  TaskRun(kernel, batch, plan, task, state).run();
}

}  // namespace fastcache::attention
