// SPDX-License-Identifier: Apache-2.0
#include "kv/block.h"

#include <cassert>
#include <utility>

namespace fastcache::kv {

Block::Block(PagePool& pool, const CacheShape& shape, std::vector<PageId> pages)
    : pool_(&pool), shape_(shape), pages_(std::move(pages)) {
  assert(static_cast<int>(pages_.size()) == shape.n_heads());
  for (const PageId page : pages_) pool_->add_owner(page, PageOwner::block);
}

Block::Block(Block&& other) noexcept
    : hash(other.hash), pool_(other.pool_), shape_(other.shape_), pages_(std::exchange(other.pages_, {})) {}

Block& Block::operator=(Block&& other) noexcept {
  if (this == &other) return *this;
  release();
  hash = other.hash;
  pool_ = other.pool_;
  shape_ = other.shape_;
  pages_ = std::exchange(other.pages_, {});
  return *this;
}

Block Block::share() const {
  Block other{*pool_, shape_, pages_};
  other.hash = hash;
  return other;
}

void Block::release() noexcept {
  for (const PageId page : pages_) pool_->release(page, PageOwner::block);
  pages_.clear();
}

size_t Block::bytes_if_released() const {
  size_t n = 0;
  for (const PageId page : pages_) n += pool_->exclusive(page) ? 1 : 0;
  return n * pool_->page_bytes();
}

}  // namespace fastcache::kv
