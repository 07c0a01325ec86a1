// SPDX-License-Identifier: Apache-2.0
// Sharing: forks, and the blocks of the prefix cache.
#include <algorithm>
#include <cassert>

#include "kv/sequence.h"

namespace fastcache::kv {
namespace {

// The entry that holds exactly the block's tokens, or null.
const TableEntry* entry_of_block(const HeadTable& head, int block, const CacheShape& shape) {
  const int first_row = block * shape.rows() - head.first_token;
  if (!head.contiguous || first_row < 0 || first_row + shape.rows() > head.n_rows) return nullptr;
  const TableEntry& entry = head.entries[head.place(first_row).entry];
  const bool whole = entry.first_row == static_cast<uint32_t>(first_row) && entry.rows_used == shape.rows();
  const bool plain = entry.type == shape.type && entry.position_delta == 0 && entry.extras == nullptr;
  return whole && plain ? &entry : nullptr;
}

}  // namespace

Sequence Sequence::fork(PageOwner owner) const {
  Sequence other{*pool_, shape_};
  other.owner_ = owner;
  other.state_ = state_;
  other.tokens_ = tokens_;
  other.heads_ = heads_;
  for (const HeadTable& head : heads_)
    head.for_each_page([&](PageId page) { pool_->add_owner(page, owner); });
  return other;
}

bool Sequence::can_share_block(int block) const {
  const auto has_it = [&](const HeadTable& head) { return entry_of_block(head, block, shape_) != nullptr; };
  return block >= 0 && std::all_of(heads_.begin(), heads_.end(), has_it);
}

Block Sequence::share_block(int block) const {
  assert(can_share_block(block));
  std::vector<PageId> pages;
  pages.reserve(heads_.size());
  for (const HeadTable& head : heads_) pages.push_back(entry_of_block(head, block, shape_)->page);
  return Block{*pool_, shape_, std::move(pages)};
}

void Sequence::attach(std::span<const Block* const> blocks, std::span<const Token> tokens) {
  assert(owner_ == PageOwner::sequence && token_count() == 0);
  assert(tokens.size() == blocks.size() * shape_.rows());
  tokens_.append(tokens);
  for (size_t h = 0; h < heads_.size(); ++h) {
    for (const Block* block : blocks) {
      assert(block->shape() == shape_);
      const PageId page = block->pages()[h];
      pool_->add_owner(page, PageOwner::sequence);
      heads_[h].entries.push_back(
          {.page = page, .rows_used = static_cast<uint16_t>(shape_.rows()), .type = shape_.type});
    }
    heads_[h].renumber();
  }
}

}  // namespace fastcache::kv
