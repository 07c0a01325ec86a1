// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_group.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numbers>

#include "kv/quantized_page.h"

namespace fastcache::attention {
namespace {

constexpr float kLog2e = std::numbers::log2e_v<float>;

// First row at a position >= the given one.
int first_row_at(const kv::HeadRows& head, int64_t position) {
  if (head.row_positions == nullptr) {
    return static_cast<int>(std::clamp<int64_t>(position - head.first_position, 0, head.n_rows));
  }
  return static_cast<int>(std::lower_bound(head.row_positions, head.row_positions + head.n_rows, position) -
                          head.row_positions);
}

void set_pages(TableGroup& group, const kv::PageMemory& pages, std::span<const kv::TableEntry> entries) {
  const size_t n = group.end_entry - group.first_entry;
  const std::byte* some = nullptr;  // stands in for freed pages, which must not be read
  for (size_t i = 0; i < n; ++i) {
    const kv::TableEntry& entry = entries[group.first_entry + i];
    if (entry.rows_used > 0) some = pages.page(entry.page).payload;
  }
  for (size_t i = 0; i < n; ++i) {
    const kv::TableEntry& entry = entries[group.first_entry + i];
    group.cache.pages[i] = entry.rows_used > 0 ? pages.page(entry.page).payload : some;
    const size_t ahead = group.end_entry + i;
    const bool known = ahead < entries.size() && entries[ahead].rows_used > 0;
    group.cache.next[i] = known ? pages.page(entries[ahead].page).payload : group.cache.pages[i];
    if (!known || entries[ahead].type != kv::KvType::int8) continue;
    const float* side =
        pages.page(entries[ahead].page).side;  // what the next group reads before anything else
    for (size_t at = 0; at < kv::page_side_bytes(kv::KvType::int8) / sizeof(float); at += 16) {
      __builtin_prefetch(side + at);
    }
  }
}

// A factor of every slot: of the row's own scale and of its extras. Unused slots get 0, so that no NaN comes
// in.
void set_factor(float* slots, int page_rows, int rows_used, const float* scale, const float* extra) {
  if (scale != nullptr) {
    std::memcpy(slots, scale, kv::rows_per_page(kv::KvType::int8) * sizeof(float));  // without a loop
  } else {
    std::fill_n(slots, rows_used, 1.0f);
  }
  for (int row = rows_used; row < page_rows; ++row) slots[row] = 0.0f;
  if (extra == nullptr) return;
  for (int row = 0; row < rows_used; ++row) slots[row] *= extra[row];
}

void set_factors(TableGroup& group, const kv::PageMemory& pages, std::span<const kv::TableEntry> entries,
                 bool bias, GroupFactors& factors) {
  static constexpr kv::RowExtras kNone;
  const int page_rows = kv::rows_per_page(group.type);
  for (size_t i = group.first_entry; i < group.end_entry; ++i) {
    const kv::TableEntry& entry = entries[i];
    const kv::RowExtras& extras = entry.extras != nullptr ? *entry.extras : kNone;
    const float* side =
        group.type == kv::KvType::int8 && entry.rows_used > 0 ? pages.page(entry.page).side : nullptr;
    const int slot = static_cast<int>(i - group.first_entry) * page_rows;
    set_factor(factors.k_factor + slot, page_rows, entry.rows_used, side, extras.k_factor);
    set_factor(factors.v_factor + slot, page_rows, entry.rows_used,
               side == nullptr ? nullptr : side + page_rows, extras.v_factor);
    if (bias) std::fill_n(factors.bias + slot, page_rows, 0.0f);
    if (extras.bias == nullptr) continue;
    for (int row = 0; row < entry.rows_used; ++row) factors.bias[slot + row] = extras.bias[row] * kLog2e;
  }
  const int end = group.cache.n_entries * page_rows;
  std::fill(factors.k_factor + end, factors.k_factor + kGroupRows, 0.0f);
  std::fill(factors.v_factor + end, factors.v_factor + kGroupRows, 0.0f);
  std::fill(factors.bias + end, factors.bias + kGroupRows, 0.0f);
  group.cache.k_factor = factors.k_factor;
  group.cache.v_factor = factors.v_factor;
  if (bias) group.cache.bias = factors.bias;
}

// The steps of V's rows, times their extras; the kernel reads those of K's channels itself.
void set_quantized_factors(TableGroup& group, const kv::TableEntry& entry, GroupFactors& factors) {
  const kv::QuantizedLayout layout = kv::quantized_layout(group.type, group.cache.head_dim);
  const int first = group.cache.first_row, n = group.end_row - group.begin_row;
  std::fill(factors.v_factor + n, factors.v_factor + kGroupRows, 0.0f);
  std::fill(factors.v_offset + n, factors.v_offset + kGroupRows, 0.0f);
  uint32_t steps[kGroupRows];  // kv::QuantStep: the scale is the lower half, the zero the upper
  std::memcpy(steps, group.cache.pages[0] + layout.row_steps_at() + sizeof(kv::QuantStep) * first,
              sizeof(kv::QuantStep) * n);
  const float centre = layout.centre();
  for (int slot = 0; slot < n; ++slot) {
    const float scale = std::bit_cast<float>(steps[slot] << 16);
    factors.v_factor[slot] = scale;
    factors.v_offset[slot] =
        scale * (static_cast<float>(static_cast<int32_t>(steps[slot]) >> 16) / 16 + centre);
  }
  group.cache.v_factor = factors.v_factor;
  group.cache.v_offset = factors.v_offset;
  if (entry.extras == nullptr) return;
  const auto copy = [&](float* slots, const float* extra, float factor, const float*& to) {
    if (extra == nullptr) return;
    std::fill(slots, slots + kGroupRows, 0.0f);
    for (int slot = 0; slot < n; ++slot) slots[slot] = extra[first + slot] * factor;
    to = slots;
  };
  copy(factors.k_factor, entry.extras->k_factor, 1.0f, group.cache.k_factor);
  copy(factors.bias, entry.extras->bias, kLog2e, group.cache.bias);
  if (entry.extras->v_factor == nullptr) return;
  for (int slot = 0; slot < n; ++slot) {
    factors.v_factor[slot] *= entry.extras->v_factor[first + slot];
    factors.v_offset[slot] *= entry.extras->v_factor[first + slot];
  }
}

uint64_t low_bits(int n) { return n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

}  // namespace

RowLimits row_limits(const AttentionShape& shape, const AttentionSequence& sequence, const kv::HeadRows& head,
                     int query) {
  const int n_new = sequence.visible_new == nullptr ? query + 1 : sequence.visible_new[query];
  RowLimits limits{0, head.n_rows - sequence.n_queries + n_new};
  if (shape.window > 0) {
    limits.begin = first_row_at(head, int64_t{sequence.query_positions[query]} - shape.window + 1);
  }
  return limits;
}

TableGroup group_at(const AttentionBatch& batch, const kv::HeadRows& head, TablePlace begin, size_t table_end,
                    GroupFactors& factors) {
  const std::span<const kv::TableEntry> entries = head.entries;
  const kv::TableEntry& first = entries[begin.entry];
  TableGroup group;
  group.first_entry = group.end_entry = begin.entry;
  group.begin_row = static_cast<int>(first.first_row) + begin.row;
  group.type = first.type;
  group.delta = first.position_delta;
  const size_t group_entries = static_cast<size_t>(entries_per_group(first.type));
  const size_t n_before = static_cast<size_t>(head.entries_before);
  bool extras = false, bias = false;
  group.end_row = group.begin_row;
  do {
    const kv::TableEntry& each = entries[group.end_entry];
    group.end_row = static_cast<int>(each.first_row) + each.rows_used;
    extras |= each.extras != nullptr;
    bias |= each.extras != nullptr && each.extras->bias != nullptr;
    ++group.end_entry;
  } while (group.end_entry < table_end && (n_before + group.end_entry) % group_entries != 0 &&
           entries[group.end_entry].type == group.type &&
           entries[group.end_entry].position_delta == group.delta);
  group.next = {group.end_entry, 0};
  if (group.end_row > group.begin_row + kGroupRows) {  // a part of a page
    group.end_row = group.begin_row + kGroupRows;
    group.next = {begin.entry, begin.row + kGroupRows};
  }
  group.cache.first_row = begin.row;
  group.full = group.end_row - group.begin_row == kGroupRows;
  group.cache.head_dim = batch.shape.head_dim;
  group.cache.n_entries = static_cast<int>(group.end_entry - group.first_entry);
  group.cache.softcap = batch.shape.softcap * kLog2e;
  set_pages(group, batch.pages, entries);
  if (kv::is_quantized(group.type))
    set_quantized_factors(group, first, factors);
  else if (extras || group.type == kv::KvType::int8)
    set_factors(group, batch.pages, entries, bias, factors);
  return group;
}

uint64_t visible_slots(const kv::HeadRows& head, const TableGroup& group, RowLimits limits) {
  if (kv::is_quantized(group.type)) {  // rows side by side
    const int n = group.end_row - group.begin_row;
    const int begin = std::clamp(limits.begin - group.begin_row, 0, n);
    return low_bits(std::clamp(limits.end - group.begin_row, begin, n)) & ~low_bits(begin);
  }
  const int page_rows = kv::rows_per_page(group.type);
  uint64_t slots = 0;
  for (size_t i = group.first_entry; i < group.end_entry; ++i) {
    const kv::TableEntry& entry = head.entries[i];
    const int first = static_cast<int>(entry.first_row);
    const int begin = std::clamp<int>(limits.begin - first, 0, entry.rows_used);
    const int end = std::clamp<int>(limits.end - first, begin, entry.rows_used);
    const uint64_t bits = (uint64_t{1} << end) - (uint64_t{1} << begin);
    slots |= bits << (static_cast<int>(i - group.first_entry) * page_rows);
  }
  return slots;
}

}  // namespace fastcache::attention
