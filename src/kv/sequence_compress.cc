// SPDX-License-Identifier: Apache-2.0
// Changes of representation, one (layer, head) at a time: allocate -> write -> repoint -> release. All that
// can fail comes first, so that a failure leaves the head as it was.
#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

#include "kv/row_packing.h"
#include "kv/sequence.h"

namespace fastcache::kv {
bool Sequence::keep_rows(int layer, int head, std::span<const int32_t> rows, const MergedRows& merged) {
  assert(owner_ == PageOwner::sequence);
  HeadTable& t = heads_[pair(layer, head)];
  assert(rows.empty() || (rows.front() >= 0 && rows.back() < t.n_rows));
  assert(std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<>()) == rows.end());
  const bool merges = merged.k != nullptr && merged.first < static_cast<int>(rows.size());
  if (static_cast<int>(rows.size()) == t.n_rows && !merges) return true;
  const auto quantized = [](const TableEntry& entry) { return is_quantized(entry.type); };
  if (std::any_of(t.entries.begin(), t.entries.end(), quantized)) {
    assert(!merges && "quantised rows cannot be merged");
    return quantize_rows(layer, head, rows, 0, shape_.type);
  }

  Packing packing = pack(t, rows, merged, *pool_);
  std::vector<int32_t> row_tokens;
  row_tokens.reserve(rows.size());
  for (const int32_t row : rows) row_tokens.push_back(t.row_token(row));
  const size_t n_reused = packing.n_bias_reused();
  std::vector<PageId> fresh(packing.n_fresh());
  if (!pool_->try_allocate_for_commit(fresh, packing.idle.size() - n_reused, PageState::compressed))
    return false;

  auto next_fresh = fresh.begin();
  for (size_t e = 0; e < packing.entries.size(); ++e)
    if (packing.how[e] == Packing::How::fresh) packing.entries[e].page = *next_fresh++;
  write_packed(packing, t, merged, *pool_);
  packing.idle.resize(n_reused);
  packing.idle.insert(packing.idle.end(), next_fresh, fresh.end());
  auto bias = write_bias(*pool_, packing.bias_plan, std::move(packing.idle), packing.bias, packing.entries);
  const bool same_tail = !packing.entries.empty() && packing.entries.size() == t.entries.size() &&
                         packing.how.back() == Packing::How::untouched;
  const bool stale_tail = t.stale_tail && same_tail;
  repoint(t, std::move(packing.entries), std::move(row_tokens), std::move(bias));
  t.stale_tail = stale_tail;
  return true;
}

bool Sequence::keep_new_rows(int layer, int head, int n_new, std::span<const int32_t> kept) {
  HeadTable& t = heads_[pair(layer, head)];
  assert(n_new <= t.n_rows);
  const int n_old = t.n_rows - n_new, n_compressed = t.n_compressed;
  std::vector<int32_t> rows(n_old);
  std::iota(rows.begin(), rows.end(), 0);
  for (const int32_t row : kept) rows.push_back(n_old + row);
  const int n_appended = n_new_;  // other layers still ask for their slots
  if (!keep_rows(layer, head, rows)) return false;
  t.n_compressed = n_compressed;
  n_new_ = n_appended;
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
  std::vector<TableEntry> entries;
  for (int r = 0; r < n; r += per_page)
    entries.push_back({.rows_used = static_cast<uint16_t>(std::min(per_page, n - r)), .type = rows.type});
  const std::span<const float> bias(rows.bias, rows.bias == nullptr ? 0 : rows.tokens.size());
  const BiasPlan bias_plan = plan_bias(entries, bias, pool_->head_dim());
  std::vector<PageId> fresh(entries.size() + bias_plan.n_pages);
  const size_t n_released = exclusive_pages(t, 0, *pool_).size();
  if (!pool_->try_allocate_for_commit(fresh, n_released, PageState::compressed)) return false;

  for (int r = 0; r < n; ++r) {
    TableEntry& entry = entries[r / per_page];
    entry.page = fresh[r / per_page];
    const size_t offset = static_cast<size_t>(r) * pool_->head_dim();
    write_row(pool_->page(entry.page), rows.type, pool_->head_dim(), r % per_page, rows.k + offset,
              rows.v + offset);
  }
  auto new_bias =
      write_bias(*pool_, bias_plan,
                 {fresh.begin() + static_cast<std::ptrdiff_t>(entries.size()), fresh.end()}, bias, entries);
  repoint(t, std::move(entries), {rows.tokens.begin(), rows.tokens.end()}, std::move(new_bias));
  return true;
}

// Old pages that are not among the new ones are released.
void Sequence::repoint(HeadTable& head, std::vector<TableEntry> entries, std::vector<int32_t> row_tokens,
                       std::shared_ptr<const HeadBias> bias) {
  std::vector<PageId> stay;
  for (const TableEntry& entry : entries) stay.push_back(entry.page);
  if (bias != nullptr) stay.insert(stay.end(), bias->pages.begin(), bias->pages.end());
  std::sort(stay.begin(), stay.end());
  head.for_each_page([&](PageId page) {
    if (!std::binary_search(stay.begin(), stay.end(), page)) pool_->release(page, owner_);
  });
  head.entries = std::move(entries);
  head.bias = std::move(bias);
  head.for_each_page([&](PageId page) {
    if (pool_->exclusive(page)) pool_->set_state(page, PageState::compressed);
  });
  head.row_tokens = std::move(row_tokens);
  head.contiguous = false;
  head.entries_before = 0;
  head.stale_tail = false;
  head.renumber();
  head.n_compressed = head.n_rows;
  head.rebuild_positions(tokens_);
  n_new_ = 0;
}

void Sequence::drop_unused_bias(HeadTable& head) noexcept {
  const auto has_bias = [](const TableEntry& entry) { return entry.extras != nullptr; };
  if (head.bias == nullptr || std::any_of(head.entries.begin(), head.entries.end(), has_bias)) return;
  for (const PageId page : head.bias->pages) pool_->release(page, owner_);
  head.bias = nullptr;
}

Sequence::Front Sequence::front_before(const HeadTable& head, int32_t position, int entries_multiple) const {
  Front front, seen;
  for (const TableEntry& entry : head.entries) {
    const int last_token = head.row_token(seen.n_rows + entry.rows_used - 1);
    if (tokens_.position(last_token) >= position) break;
    seen.n_rows += entry.rows_used;
    ++seen.n_entries;
    if ((static_cast<size_t>(head.entries_before) + seen.n_entries) % static_cast<size_t>(entries_multiple) ==
        0)
      front = seen;
  }
  return front;
}

size_t Sequence::pages_before(int layer, int32_t position, int entries_multiple) const {
  size_t n = 0;
  for (int h = 0; h < shape_.n_kv_heads; ++h)
    n += front_before(table(layer, h), position, entries_multiple).n_entries;
  return n;
}

void Sequence::free_before(int layer, int32_t position, int entries_multiple) noexcept {
  for (int h = 0; h < shape_.n_kv_heads; ++h) {
    HeadTable& head = heads_[pair(layer, h)];
    const auto [n_entries, n_rows] = front_before(head, position, entries_multiple);
    if (n_entries == 0) continue;
    for (size_t e = 0; e < n_entries; ++e) pool_->release(head.entries[e].page, owner_);
    head.entries.erase(head.entries.begin(), head.entries.begin() + static_cast<std::ptrdiff_t>(n_entries));
    head.entries_before += static_cast<int>(n_entries);
    head.stale_tail = head.stale_tail && !head.entries.empty();
    drop_unused_bias(head);
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
