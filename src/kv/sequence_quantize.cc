// SPDX-License-Identifier: Apache-2.0
// Changes of format: rows of one (layer, head) move to quantised pages. All new pages are made in memory of
// their own first; then they take the places of pages that the head gives up and owns alone, and only what is
// missing is allocated. So a head that shares nothing can be quantised in a full pool.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "kv/head_reader.h"
#include "kv/quantized_page.h"
#include "kv/sequence.h"

namespace fastcache::kv {
namespace {

struct Target {
  TableEntry entry;
  int stays = -1;     // the old entry that it is, or -1: a page to be made
  int first_row = 0;  // of those kept
};

struct Rows {  // what quantize_rows() was asked for
  std::span<const int32_t> kept;
  int n_quantized = 0;
  KvType type = KvType::bf16;

  KvType type_of(size_t i, KvType now) const {
    return static_cast<int>(i) < n_quantized && !is_quantized(now) ? type : now;
  }
};

// The page of kept row i stays as it is: the row is its first, all others follow, and it has no place for
// more.
bool stays_whole(const Rows& rows, size_t i, const TableEntry& from, int head_dim) {
  const size_t end = i + from.rows_used;
  if (rows.type_of(i, from.type) != from.type || end > rows.kept.size()) return false;
  const int first = static_cast<int>(from.first_row);
  const bool all = rows.kept[i] == first && rows.kept[end - 1] == first + from.rows_used - 1;
  const bool closed = is_quantized(from.type) || end == rows.kept.size() ||
                      from.rows_used == rows_per_page(from.type, head_dim);
  return all && closed;
}

std::vector<Target> plan_targets(const HeadTable& head, const Rows& rows, int head_dim) {
  std::vector<Target> targets;
  int source = 0;
  for (size_t i = 0; i < rows.kept.size();) {
    while (rows.kept[i] >= static_cast<int>(head.entries[source].first_row + head.entries[source].rows_used))
      ++source;
    const TableEntry& from = head.entries[source];
    assert(from.extras == nullptr && "rows with extras cannot be packed yet");
    if (stays_whole(rows, i, from, head_dim)) {
      targets.push_back({.entry = from, .stays = source, .first_row = static_cast<int>(i)});
      i += from.rows_used;
      continue;
    }
    TableEntry to = from;
    to.type = rows.type_of(i, from.type);
    to.rows_used = 0;
    const auto continues = [&](const Target& last) {
      return last.stays < 0 && last.entry.type == to.type && last.entry.position_delta == to.position_delta &&
             last.entry.rows_used < rows_per_page(to.type, head_dim);
    };
    if (targets.empty() || !continues(targets.back()))
      targets.push_back({.entry = to, .first_row = static_cast<int>(i)});
    ++targets.back().entry.rows_used;
    ++i;
  }
  return targets;
}

// What the targets leave of the old table.
struct Leftover {
  size_t n_made = 0;        // targets that are new pages
  std::vector<PageId> own;  // old pages that nobody wants any more, neither here nor elsewhere
};

Leftover leftover(const HeadTable& head, std::span<const Target> targets, const PagePool& pool) {
  Leftover left;
  std::vector<bool> stays(head.entries.size());
  for (const Target& target : targets) {
    if (target.stays < 0)
      ++left.n_made;
    else
      stays[target.stays] = true;
  }
  for (size_t e = 0; e < head.entries.size(); ++e)
    if (!stays[e] && pool.exclusive(head.entries[e].page)) left.own.push_back(head.entries[e].page);
  return left;
}

// Pages in memory of their own, zeroed, one after the other.
class DraftPages {
 public:
  DraftPages(const PagePool& pool, size_t n) : bytes_(n * pool.page_bytes()), memory_(pool.memory()) {}

  PageRef page(size_t i) {
    std::byte* at = bytes_.data() + i * (memory_.payload_bytes + memory_.side_bytes);
    return {at, memory_.side_bytes == 0 ? nullptr : reinterpret_cast<float*>(at + memory_.payload_bytes)};
  }
  void copy_to(const PageRef& to, size_t i) {
    const PageRef from = page(i);
    std::memcpy(to.payload, from.payload, memory_.payload_bytes);
    if (to.side != nullptr) std::memcpy(to.side, from.side, memory_.side_bytes);
  }

 private:
  std::vector<std::byte> bytes_;
  PageMemory memory_;
};

// Calls f(first, n, offset) for each run of rows side by side; offset: of the run in `rows`.
template <class F>
void for_runs(std::span<const int32_t> rows, F f) {
  for (size_t begin = 0; begin < rows.size();) {
    size_t end = begin + 1;
    while (end < rows.size() && rows[end] == rows[end - 1] + 1) ++end;
    f(rows[begin], static_cast<int>(end - begin), begin);
    begin = end;
  }
}

}  // namespace

// page: zeros.
void Sequence::make_page(const HeadTable& head, std::span<const int32_t> rows, KvType type,
                         const PageRef& page) const {
  const int head_dim = pool_->head_dim();
  if (!is_quantized(type)) {
    for (size_t r = 0; r < rows.size(); ++r) {
      const RowPlace from = head.place(rows[r]);
      copy_row(pool_->page(head.entries[from.entry].page), from.row, page, static_cast<int>(r), type,
               head_dim);
    }
    return;
  }
  std::vector<float> k(rows.size() * head_dim), v(k.size());
  const HeadRows view = head.view(tokens_);
  for_runs(rows, [&](int first, int n, size_t offset) {
    read_head_rows(pool_->memory(), head_dim, view, first, n, &k[offset * head_dim], &v[offset * head_dim]);
  });
  quantize_page(page, type, head_dim, static_cast<int>(rows.size()), k.data(), v.data());
}

bool Sequence::quantize_rows(int layer, int head, std::span<const int32_t> rows, int n_quantized,
                             KvType type) {
  assert(owner_ == PageOwner::sequence && (n_quantized == 0 || is_quantized(type)));
  HeadTable& t = heads_[pair(layer, head)];
  assert(t.bias == nullptr && "rows with biases cannot be quantised");
  assert(rows.empty() || (rows.front() >= 0 && rows.back() < t.n_rows));
  assert(std::adjacent_find(rows.begin(), rows.end(), std::greater_equal<>()) == rows.end());

  std::vector<Target> targets = plan_targets(t, {rows, n_quantized, type}, pool_->head_dim());
  if (static_cast<int>(rows.size()) == t.n_rows && targets.size() >= t.entries.size()) return true;
  const Leftover left = leftover(t, targets, *pool_);
  const size_t n_reused = std::min(left.n_made, left.own.size());
  std::vector<PageId> pages(left.n_made - n_reused);
  if (!pool_->try_allocate_for_commit(pages, left.own.size() - n_reused, PageState::compressed)) return false;
  pages.insert(pages.end(), left.own.begin(), left.own.begin() + static_cast<ptrdiff_t>(n_reused));

  DraftPages drafts(*pool_, pages.size());
  size_t n_drafts = 0;
  for (Target& target : targets) {
    if (target.stays >= 0) continue;
    make_page(t, rows.subspan(target.first_row, target.entry.rows_used), target.entry.type,
              drafts.page(n_drafts));
    target.entry.page = pages[n_drafts++];
  }
  for (size_t i = 0; i < n_drafts; ++i) drafts.copy_to(pool_->page(pages[i]), i);
  std::vector<TableEntry> entries;
  entries.reserve(targets.size());
  for (const Target& target : targets) entries.push_back(target.entry);
  std::vector<int32_t> row_tokens;
  row_tokens.reserve(rows.size());
  for (const int32_t row : rows) row_tokens.push_back(t.row_token(row));
  const bool same_tail = !targets.empty() && targets.back().stays == static_cast<int>(t.entries.size()) - 1;
  const bool stale_tail = t.stale_tail && same_tail;
  repoint(t, std::move(entries), std::move(row_tokens), nullptr);
  t.stale_tail = stale_tail;
  return true;
}

}  // namespace fastcache::kv
