// SPDX-License-Identifier: Apache-2.0
// The life of a sequence from step to step; sharing and compression have files of their own.
#include "kv/sequence.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace fastcache::kv {

Sequence::Sequence(PagePool& pool, const CacheShape& shape)
    : pool_(&pool), shape_(shape), heads_(shape.n_heads()) {
  assert(pool.allows(shape.type));
}

Sequence::Sequence(Sequence&& other) noexcept
    : pool_(other.pool_),
      shape_(other.shape_),
      owner_(other.owner_),
      state_(other.state_),
      tokens_(std::exchange(other.tokens_, {})),
      heads_(std::exchange(other.heads_, {})),
      n_new_(std::exchange(other.n_new_, 0)) {}

Sequence& Sequence::operator=(Sequence&& other) noexcept {
  if (this == &other) return *this;
  release();
  pool_ = other.pool_;
  shape_ = other.shape_;
  owner_ = other.owner_;
  state_ = other.state_;
  tokens_ = std::exchange(other.tokens_, {});
  heads_ = std::exchange(other.heads_, {});
  n_new_ = std::exchange(other.n_new_, 0);
  return *this;
}

SequenceBytes Sequence::bytes() const {
  SequenceBytes bytes;
  for (const HeadTable& head : heads_)
    for (const TableEntry& entry : head.entries)
      (pool_->exclusive(entry.page) ? bytes.exclusive : bytes.shared) += pool_->page_bytes();
  return bytes;
}

int Sequence::tail_room(const HeadTable& head) const {
  if (head.entries.empty()) return 0;
  const TableEntry& tail = head.entries.back();
  const bool continues = tail.type == shape_.type && tail.position_delta == 0 && tail.extras == nullptr;
  return continues ? shape_.rows() - tail.rows_used : 0;
}

size_t Sequence::pages_to_extend(const HeadTable& head, int n) const {
  const int room = tail_room(head);
  const bool copy = (room > 0 || head.stale_tail) && !pool_->exclusive(head.entries.back().page);
  const int beyond = std::max(0, n - room);
  return (copy ? 1 : 0) + (beyond + shape_.rows() - 1) / shape_.rows();
}

size_t Sequence::pages_to_append(int n_tokens) const {
  if (n_tokens == 0) return 0;
  size_t n = 0;
  for (const HeadTable& head : heads_) n += pages_to_extend(head, n_tokens);
  return n;
}

bool Sequence::append(std::span<const Token> tokens) {
  assert(owner_ == PageOwner::sequence);
  if (tokens.empty()) return true;
  const int n = static_cast<int>(tokens.size());
  fresh_.resize(pages_to_append(n));
  if (!pool_->try_allocate(fresh_, state_)) return false;

  const int first = token_count();
  const bool positions_were_indices = tokens_.positions_are_indices();
  tokens_.append(tokens);
  const bool positions_changed = positions_were_indices != tokens_.positions_are_indices();
  const PageId* fresh = fresh_.data();
  for (HeadTable& head : heads_) {
    if (positions_changed) head.rebuild_positions(tokens_);
    fresh = extend(head, n, fresh);
    head.push_tokens(first, n, tokens_);
  }
  assert(fresh == fresh_.data() + fresh_.size());
  n_new_ = n;
  return true;
}

bool Sequence::append_text(std::span<const int32_t> ids) {
  std::vector<Token> tokens;
  tokens.reserve(ids.size());
  int32_t position = next_position();
  for (const int32_t id : ids) tokens.push_back(text_token(id, position++));
  return append(tokens);
}

// Returns the first fresh page that it did not take.
const PageId* Sequence::extend(HeadTable& head, int n, const PageId* fresh) {
  const int room = tail_room(head);
  if (room > 0 || head.stale_tail) fresh = own_tail(head, fresh);
  head.new_rows = {static_cast<int>(head.entries.size()), 0};
  if (room > 0) {
    TableEntry& tail = head.entries.back();
    head.new_rows = {static_cast<int>(head.entries.size()) - 1, tail.rows_used};
    const int taken = std::min(n, room);
    tail.rows_used = static_cast<uint16_t>(tail.rows_used + taken);
    head.n_rows += taken;
    n -= taken;
  }
  for (; n > 0; n -= shape_.rows()) {
    const int used = std::min(n, shape_.rows());
    head.entries.push_back({.page = *fresh++,
                            .first_row = static_cast<uint32_t>(head.n_rows),
                            .rows_used = static_cast<uint16_t>(used),
                            .type = shape_.type});
    head.n_rows += used;
  }
  return fresh;
}

// Makes the last page one that this head may write, with nothing behind its rows in use.
const PageId* Sequence::own_tail(HeadTable& head, const PageId* fresh) {
  TableEntry& tail = head.entries.back();
  if (!pool_->exclusive(tail.page)) {
    for (int r = 0; r < tail.rows_used; ++r)
      copy_row(pool_->page(tail.page), r, pool_->page(*fresh), r, tail.type, pool_->head_dim());
    pool_->release(tail.page, owner_);
    tail.page = *fresh++;
  } else if (head.stale_tail) {
    clear_rows(tail, tail.rows_used, rows_per_page(tail.type));
  }
  head.stale_tail = false;
  return fresh;
}

RowSlot Sequence::slot(int layer, int head, int i) const {
  assert(i >= 0 && i < n_new_);
  const HeadTable& t = table(layer, head);
  const int row = t.new_rows.row + i;
  const TableEntry& entry = t.entries[t.new_rows.entry + row / shape_.rows()];
  return {pool_->page(entry.page), row % shape_.rows(), entry.type};
}

RowSlot Sequence::row(int layer, int head, int row) const {
  const HeadTable& t = table(layer, head);
  const RowPlace place = t.place(row);
  const TableEntry& entry = t.entries[place.entry];
  return {pool_->page(entry.page), place.row, entry.type};
}

void Sequence::clear_rows(const TableEntry& entry, int begin, int end) const {
  for (int r = begin; r < end; ++r) clear_row(pool_->page(entry.page), entry.type, pool_->head_dim(), r);
}

void Sequence::cut_rows(HeadTable& head, int n_kept) noexcept {
  while (head.n_rows > n_kept) {
    TableEntry& tail = head.entries.back();
    const int cut = std::min<int>(head.n_rows - n_kept, tail.rows_used);
    head.n_rows -= cut;
    if (cut == tail.rows_used) {
      pool_->release(tail.page, owner_);
      head.entries.pop_back();
      head.stale_tail = false;
      continue;
    }
    tail.rows_used = static_cast<uint16_t>(tail.rows_used - cut);
    if (is_quantized(tail.type)) continue;  // never appended to, and what is cut off is finite
    if (pool_->exclusive(tail.page))
      clear_rows(tail, tail.rows_used, tail.rows_used + cut);
    else
      head.stale_tail = true;
  }
  head.pop_tokens(n_kept);
}

void Sequence::truncate_to(int token_count) noexcept {
  assert(token_count >= 0 && token_count <= tokens_.size());
  if (token_count == 0) return release();
  for (HeadTable& head : heads_) {
    cut_rows(head, head.rows_before_token(token_count));
    if (head.contiguous) head.first_token = std::min(head.first_token, token_count);
  }
  tokens_.truncate_to(token_count);
  n_new_ = 0;
}

void Sequence::release() noexcept {
  for (HeadTable& head : heads_) {
    for (const TableEntry& entry : head.entries) pool_->release(entry.page, owner_);
    head = HeadTable{};
  }
  tokens_ = TokenTable{};
  n_new_ = 0;
}

}  // namespace fastcache::kv
