// SPDX-License-Identifier: Apache-2.0
// Changes of representation, one (layer, head) at a time: allocate -> write -> repoint -> release. All that
// can fail comes first, so that a failure leaves the head as it was.
#include <algorithm>
#include <cassert>
#include <utility>

#include "kv/sequence.h"

namespace fastcache::kv {
namespace {

// The kept rows packed into as few pages as their order allows. New page i takes the place of old page i: a
// row never moves to a later page or slot than it has, so rows moved in ascending order overwrite nothing
// that is still wanted.
struct Packing {
  enum class How { untouched, in_place, fresh };
  struct Target {
    TableEntry entry;
    How how = How::untouched;
  };
  std::vector<Target> targets;
  std::vector<RowPlace> sources;  // [kept rows]
  size_t n_fresh = 0;
  size_t n_released = 0;  // pages that come free
};

bool same_kind(const TableEntry& a, const TableEntry& b) {
  return a.type == b.type && a.position_delta == b.position_delta && a.extras == b.extras;
}

Packing pack(const HeadTable& head, std::span<const int32_t> rows, const PagePool& pool) {
  Packing packing;
  packing.sources.reserve(rows.size());
  std::vector<bool> moved;  // [targets]
  int source = 0;
  for (const int32_t row : rows) {
    while (row >= static_cast<int>(head.entries[source].first_row + head.entries[source].rows_used)) ++source;
    const TableEntry& from = head.entries[source];
    assert(from.extras == nullptr && "rows with extras cannot be packed yet");
    auto& targets = packing.targets;
    if (targets.empty() || !same_kind(targets.back().entry, from) ||
        targets.back().entry.rows_used == rows_per_page(from.type)) {
      targets.push_back({from});
      targets.back().entry.rows_used = 0;
      moved.push_back(false);
    }
    const RowPlace place{source, row - static_cast<int>(from.first_row)};
    TableEntry& to = targets.back().entry;
    if (place != RowPlace{static_cast<int>(targets.size()) - 1, to.rows_used}) moved.back() = true;
    ++to.rows_used;
    packing.sources.push_back(place);
  }
  for (size_t t = 0; t < packing.targets.size(); ++t) {
    auto& [entry, how] = packing.targets[t];
    const TableEntry& old = head.entries[t];
    const bool same_rows = !moved[t] && entry.rows_used == old.rows_used;
    how = same_rows                  ? Packing::How::untouched
          : pool.exclusive(old.page) ? Packing::How::in_place
                                     : Packing::How::fresh;
    entry.page = old.page;
    if (how == Packing::How::fresh) ++packing.n_fresh;
  }
  for (size_t e = packing.targets.size(); e < head.entries.size(); ++e)
    if (pool.exclusive(head.entries[e].page)) ++packing.n_released;
  return packing;
}

}  // namespace

bool Sequence::keep_rows(int layer, int head, std::span<const int32_t> rows) {
  assert(owner_ == PageOwner::sequence);
  HeadTable& t = heads_[pair(layer, head)];
  assert(rows.empty() || (rows.front() >= 0 && rows.back() < t.n_rows));
  assert(std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<>()) == rows.end());
  if (static_cast<int>(rows.size()) == t.n_rows) return true;
  const auto quantized = [](const TableEntry& entry) { return is_quantized(entry.type); };
  if (std::any_of(t.entries.begin(), t.entries.end(), quantized))
    return quantize_rows(layer, head, rows, 0, shape_.type);

  Packing packing = pack(t, rows, *pool_);
  std::vector<int32_t> row_tokens;
  row_tokens.reserve(rows.size());
  for (const int32_t row : rows) row_tokens.push_back(t.row_token(row));
  std::vector<PageId> fresh(packing.n_fresh);
  if (!pool_->try_allocate_for_commit(fresh, packing.n_released, PageState::compressed)) return false;

  std::vector<TableEntry> entries;
  entries.reserve(packing.targets.size());
  const RowPlace* source = packing.sources.data();
  const PageId* next_fresh = fresh.data();
  for (auto& [entry, how] : packing.targets) {
    if (how == Packing::How::fresh) entry.page = *next_fresh++;
    for (int r = 0; r < entry.rows_used; ++r, ++source) {
      if (how == Packing::How::untouched) continue;
      const PageId from = t.entries[source->entry].page;
      if (from != entry.page || source->row != r)
        copy_row(pool_->page(from), source->row, pool_->page(entry.page), r, entry.type, pool_->head_dim());
    }
    entries.push_back(entry);
  }
  for (const auto& [entry, how] : packing.targets)
    if (how == Packing::How::in_place) clear_rows(entry, entry.rows_used, rows_per_page(entry.type));
  const bool same_tail =
      entries.size() == t.entries.size() && packing.targets.back().how == Packing::How::untouched;
  const bool stale_tail = t.stale_tail && same_tail;
  repoint(t, std::move(entries), std::move(row_tokens));
  t.stale_tail = stale_tail;
  return true;
}

bool Sequence::replace_rows(int layer, int head, const NewRows& rows) {
  HeadTable& t = heads_[pair(layer, head)];
  assert(owner_ == PageOwner::sequence && pool_->allows(rows.type) && !is_quantized(rows.type));
  assert(std::adjacent_find(rows.tokens.begin(), rows.tokens.end(), std::greater_equal<>()) ==
         rows.tokens.end());
  assert(rows.tokens.empty() || (rows.tokens.front() >= 0 && rows.tokens.back() < token_count()));
  const int n = static_cast<int>(rows.tokens.size());
  const int per_page = rows_per_page(rows.type);
  std::vector<PageId> fresh((n + per_page - 1) / per_page);
  size_t n_released = 0;
  for (const TableEntry& entry : t.entries) n_released += pool_->exclusive(entry.page) ? 1 : 0;
  if (!pool_->try_allocate_for_commit(fresh, n_released, PageState::compressed)) return false;

  std::vector<TableEntry> entries;
  for (int r = 0; r < n; ++r) {
    if (r % per_page == 0) entries.push_back({.page = fresh[r / per_page], .type = rows.type});
    const size_t offset = static_cast<size_t>(r) * pool_->head_dim();
    write_row(pool_->page(entries.back().page), rows.type, pool_->head_dim(), r % per_page, rows.k + offset,
              rows.v + offset);
    ++entries.back().rows_used;
  }
  repoint(t, std::move(entries), {rows.tokens.begin(), rows.tokens.end()});
  return true;
}

// Old pages that are not among the new ones are released.
void Sequence::repoint(HeadTable& head, std::vector<TableEntry> entries, std::vector<int32_t> row_tokens) {
  std::vector<PageId> stay;
  stay.reserve(entries.size());
  for (const TableEntry& entry : entries) stay.push_back(entry.page);
  std::sort(stay.begin(), stay.end());
  for (const TableEntry& entry : head.entries)
    if (!std::binary_search(stay.begin(), stay.end(), entry.page)) pool_->release(entry.page, owner_);
  for (const TableEntry& entry : entries)
    if (pool_->exclusive(entry.page)) pool_->set_state(entry.page, PageState::compressed);
  head.entries = std::move(entries);
  head.row_tokens = std::move(row_tokens);
  head.contiguous = false;
  head.entries_before = 0;
  head.stale_tail = false;
  head.renumber();
  head.n_compressed = head.n_rows;
  head.rebuild_positions(tokens_);
  n_new_ = 0;
}

void Sequence::free_before(int layer, int32_t position) noexcept {
  for (int h = 0; h < shape_.n_kv_heads; ++h) {
    HeadTable& head = heads_[pair(layer, h)];
    size_t n_entries = 0;
    int n_rows = 0;
    for (const TableEntry& entry : head.entries) {
      const int last_token = head.row_token(n_rows + entry.rows_used - 1);
      if (tokens_.position(last_token) >= position) break;
      pool_->release(entry.page, owner_);
      n_rows += entry.rows_used;
      ++n_entries;
    }
    if (n_entries == 0) continue;
    head.entries.erase(head.entries.begin(), head.entries.begin() + n_entries);
    head.entries_before += static_cast<int>(n_entries);
    head.stale_tail = head.stale_tail && !head.entries.empty();
    head.n_compressed = std::max(0, head.n_compressed - n_rows);
    if (head.contiguous) {
      head.first_token += n_rows;
    } else {
      head.row_tokens.erase(head.row_tokens.begin(), head.row_tokens.begin() + n_rows);
      if (!head.row_positions.empty())
        head.row_positions.erase(head.row_positions.begin(), head.row_positions.begin() + n_rows);
    }
    head.renumber();
  }
  n_new_ = 0;
}

}  // namespace fastcache::kv
