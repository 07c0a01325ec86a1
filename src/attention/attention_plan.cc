// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_plan.h"

#include <algorithm>

namespace fastcache::attention {
namespace {

constexpr int kTasksPerThread = 8;  // enough that the last task to finish leaves little idle time
constexpr float kRowOverhead = 3;   // reading a page costs about as much as this many query rows

float unit_cost(const AttentionBatch& batch, const Unit& unit) {
  const AttentionSequence& sequence = batch.sequences[static_cast<size_t>(unit.sequence)];
  const int group = batch.shape.n_heads / batch.shape.n_kv_heads;
  const int n_rows = sequence.heads[static_cast<size_t>(unit.kv_head)].n_rows;
  const int last_query = (unit.first_row + unit.n_rows - 1) / group;
  int visible = sequence.visible_new == nullptr ? n_rows - sequence.n_queries + last_query + 1 : n_rows;
  if (batch.shape.window > 0) visible = std::min(visible, batch.shape.window + unit.n_rows / group);
  return (static_cast<float>(unit.n_rows) + kRowOverhead) * static_cast<float>(visible + kGroupRows);
}

}  // namespace

int tile_rows(int head_dim) {
  return std::min(kMaxTileRows, kTileFloats / head_dim / kBlockRows * kBlockRows);
}

SplitEntries split_entries(const kv::HeadRows& head, int split) {
  const int in_first = head.entries_before % kSplitEntries;
  const int n_entries = static_cast<int>(head.entries.size());
  const int begin = split * kSplitEntries - in_first;
  return {static_cast<size_t>(std::max(begin, 0)),
          static_cast<size_t>(std::min(begin + kSplitEntries, n_entries))};
}

void AttentionPlan::add_units(const AttentionBatch& batch, int sequence, int kv_head) {
  const AttentionSequence& of = batch.sequences[static_cast<size_t>(sequence)];
  const int rows = of.n_queries * (batch.shape.n_heads / batch.shape.n_kv_heads);
  const int step = tile_rows(batch.shape.head_dim);
  const kv::HeadRows& head = of.heads[static_cast<size_t>(kv_head)];
  const int in_first = head.entries_before % kSplitEntries;  // freed entries of the first split
  const int n_entries = static_cast<int>(head.entries.size()) + in_first;
  for (int first = 0; first < rows; first += step) {
    Unit unit{
        .sequence = sequence, .kv_head = kv_head, .first_row = first, .n_rows = std::min(step, rows - first)};
    unit.n_splits = std::max(1, (n_entries + kSplitEntries - 1) / kSplitEntries);
    tasks.push_back(
        {.unit = static_cast<int>(units.size()), .n_splits = unit.n_splits, .cost = unit_cost(batch, unit)});
    units.push_back(unit);
  }
}

// Replaces a task that is too large by several; the unit then needs room for partial results.
void AttentionPlan::cut(const AttentionBatch& batch, int n_threads) {
  float total = 0;
  for (const Task& task : tasks) total += task.cost;
  const float target = total / static_cast<float>(n_threads * kTasksPerThread);
  size_t partial_size = 0;
  const size_t n_whole = tasks.size();
  for (size_t i = 0; i < n_whole; ++i) {
    const Task whole = tasks[i];
    Unit& unit = units[static_cast<size_t>(whole.unit)];
    const int pieces = std::min(unit.n_splits, static_cast<int>(whole.cost / target + 0.99f));
    if (pieces <= 1) continue;
    unit.n_pieces = pieces;
    unit.partials = partial_size;
    partial_size += static_cast<size_t>(unit.n_splits) * static_cast<size_t>(unit.n_rows) *
                    partial_floats(batch.shape.head_dim);
    for (int piece = 0; piece < pieces; ++piece) {
      const int begin = unit.n_splits * piece / pieces;
      const int end = unit.n_splits * (piece + 1) / pieces;
      const float share = static_cast<float>(end - begin) / static_cast<float>(unit.n_splits);
      const Task part{
          .unit = whole.unit, .first_split = begin, .n_splits = end - begin, .cost = whole.cost * share};
      if (piece == 0)
        tasks[i] = part;
      else
        tasks.push_back(part);
    }
  }
  if (partials.size() < partial_size) partials.resize(partial_size);
}

void AttentionPlan::make(const AttentionBatch& batch, int n_threads) {
  units.clear();
  tasks.clear();
  for (int s = 0; s < static_cast<int>(batch.sequences.size()); ++s) {
    for (int h = 0; h < batch.shape.n_kv_heads; ++h) add_units(batch, s, h);
  }
  if (n_threads > 1) cut(batch, n_threads);
  const auto larger = [](const Task& a, const Task& b) { return a.cost > b.cost; };
  if (!std::is_sorted(tasks.begin(), tasks.end(), larger)) std::sort(tasks.begin(), tasks.end(), larger);
  if (pending_size < units.size()) {
    pending_size = std::max(units.size(), 2 * pending_size);
    pending = std::make_unique<std::atomic<int>[]>(pending_size);
  }
  for (size_t u = 0; u < units.size(); ++u) pending[u].store(units[u].n_pieces, std::memory_order_relaxed);
}

}  // namespace fastcache::attention
