// SPDX-License-Identifier: Apache-2.0
#include "kv/row_packing.h"

#include <algorithm>
#include <cassert>

namespace fastcache::kv {
namespace {

bool same_kind(const TableEntry& a, const TableEntry& b) {
  return a.type == b.type && a.position_delta == b.position_delta;
}

// Of what was [kept rows] and becomes [kept rows]: merged ones have biases of their own, the others theirs.
std::vector<float> kept_biases(const HeadTable& head, const Packing& packing, const MergedRows& merged) {
  const int n = static_cast<int>(packing.sources.size());
  std::vector<float> bias(n);
  for (int row = 0; row < std::min(n, packing.first_merged); ++row) {
    const RowPlace& source = packing.sources[row];
    const RowExtras* extras = head.entries[source.entry].extras;
    if (extras != nullptr) bias[row] = extras->bias[source.row];
  }
  if (merged.bias != nullptr)
    for (int row = packing.first_merged; row < n; ++row) bias[row] = merged.bias[row - packing.first_merged];
  return bias;
}

}  // namespace

size_t Packing::n_bias_reused() const { return std::min(idle.size(), bias_plan.n_pages); }

size_t Packing::n_fresh() const {
  return static_cast<size_t>(std::count(how.begin(), how.end(), How::fresh)) + bias_plan.n_pages -
         n_bias_reused();
}

std::vector<PageId> exclusive_pages(const HeadTable& head, size_t nth, const PagePool& pool) {
  std::vector<PageId> pages;
  size_t i = 0;
  head.for_each_page([&](PageId page) {
    if (i++ >= nth && pool.exclusive(page)) pages.push_back(page);
  });
  return pages;
}

Packing pack(const HeadTable& head, std::span<const int32_t> rows, const MergedRows& merged,
             const PagePool& pool) {
  Packing packing;
  packing.first_merged = merged.k == nullptr ? static_cast<int>(rows.size()) : merged.first;
  packing.sources.reserve(rows.size());
  std::vector<TableEntry>& entries = packing.entries;
  std::vector<bool> moved;  // [entries]
  int source = 0;
  for (const int32_t row : rows) {
    while (row >= static_cast<int>(head.entries[source].first_row + head.entries[source].rows_used)) ++source;
    const TableEntry& from = head.entries[source];
    assert((from.extras == nullptr || from.extras->k_factor == nullptr) && "factors cannot be packed yet");
    if (entries.empty() || !same_kind(entries.back(), from) ||
        entries.back().rows_used == rows_per_page(from.type)) {
      entries.push_back(from);
      entries.back().rows_used = 0;
      moved.push_back(false);
    }
    const RowPlace place{source, row - static_cast<int>(from.first_row)};
    const RowPlace to{static_cast<int>(entries.size()) - 1, entries.back().rows_used};
    const bool is_merged = static_cast<int>(packing.sources.size()) >= packing.first_merged;
    if (place != to || is_merged) moved.back() = true;
    ++entries.back().rows_used;
    packing.sources.push_back(place);
  }
  for (size_t e = 0; e < entries.size(); ++e) {
    const TableEntry& old = head.entries[e];
    const bool same_rows = !moved[e] && entries[e].rows_used == old.rows_used;
    packing.how.push_back(same_rows                  ? Packing::How::untouched
                          : pool.exclusive(old.page) ? Packing::How::in_place
                                                     : Packing::How::fresh);
    entries[e].page = old.page;
  }
  packing.bias = kept_biases(head, packing, merged);
  packing.bias_plan = plan_bias(entries, packing.bias, pool.head_dim());
  packing.idle = exclusive_pages(head, entries.size(), pool);
  return packing;
}

void write_packed(const Packing& packing, const HeadTable& old, const MergedRows& merged,
                  const PagePool& pool) {
  const int head_dim = pool.head_dim();
  int row = 0;
  for (size_t e = 0; e < packing.entries.size(); ++e) {
    const TableEntry& entry = packing.entries[e];
    const PageRef page = pool.page(entry.page);
    for (int r = 0; r < entry.rows_used; ++r, ++row) {
      if (packing.how[e] == Packing::How::untouched) continue;
      const RowPlace& source = packing.sources[row];
      const PageId from = old.entries[source.entry].page;
      if (row >= packing.first_merged) {
        const size_t offset = static_cast<size_t>(row - packing.first_merged) * head_dim;
        write_row(page, entry.type, head_dim, r, merged.k + offset, merged.v + offset);
      } else if (from != entry.page || source.row != r) {
        copy_row(pool.page(from), source.row, page, r, entry.type, head_dim);
      }
    }
    if (packing.how[e] != Packing::How::in_place) continue;
    for (int r = entry.rows_used; r < rows_per_page(entry.type); ++r)
      clear_row(page, entry.type, head_dim, r);
  }
}

}  // namespace fastcache::kv
