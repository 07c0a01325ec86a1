// SPDX-License-Identifier: Apache-2.0
// Which cache rows a query sees, and the groups of table entries that a kernel takes at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/attention.h"
#include "attention/attention_kernel.h"

namespace fastcache::attention {

struct RowLimits {  // visible rows of a head: [begin, end)
  int begin = 0;
  int end = 0;
};

RowLimits row_limits(const AttentionShape& shape, const AttentionSequence& sequence, const kv::HeadRows& head,
                     int query);

struct TablePlace {
  size_t entry = 0;
  int row = 0;  // within the entry's page; not 0 only in pages that are larger than a group
};

struct TableGroup {
  CacheGroup cache;
  TablePlace next;  // where the group behind this one begins
  size_t first_entry = 0;
  size_t end_entry = 0;
  int begin_row = 0;  // rows of the head that lie in it: [begin_row, end_row)
  int end_row = 0;
  bool full = false;  // every slot holds a row
  kv::KvType type = kv::KvType::bf16;
  int32_t delta = 0;
};

struct GroupFactors {
  alignas(64) float k_factor[kGroupRows];
  alignas(64) float v_factor[kGroupRows];
  alignas(64) float bias[kGroupRows];
  alignas(64) float v_offset[kGroupRows];
};

// The group that starts at a place, cut at table_end, at the group's absolute boundary, or where type or
// delta changes. factors is filled where the group needs it, and then lives as long as the group.
TableGroup group_at(const AttentionBatch& batch, const kv::HeadRows& head, TablePlace begin, size_t table_end,
                    GroupFactors& factors);

// Bit s: slot s of the group holds a row within the limits.
uint64_t visible_slots(const kv::HeadRows& head, const TableGroup& group, RowLimits limits);

}  // namespace fastcache::attention
