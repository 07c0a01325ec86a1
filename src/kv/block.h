// SPDX-License-Identifier: Apache-2.0
// One block of rows_per_page(type) tokens over all layers and KV heads: what the prefix cache holds and hands
// out. Owner: the engine thread. Immutable: a page of a block has the block as an owner, so nobody writes it.
#pragma once

#include <span>
#include <vector>

#include "base/hash.h"
#include "kv/page_pool.h"

namespace fastcache::kv {

struct CacheShape {  // of one model's cache, the same for all its sequences
  int n_layers = 0;
  int n_kv_heads = 0;
  KvType type = KvType::bf16;
  int n_heads() const {
    return n_layers * n_kv_heads;
  }  // (layer, KV head) pairs; pair = layer * n_kv_heads + head
  int rows() const { return rows_per_page(type); }
  bool operator==(const CacheShape&) const = default;
};

class Block {
 public:
  // Becomes one more owner of each page. pages: [n_layers][n_kv_heads], full.
  Block(PagePool& pool, const CacheShape& shape, std::vector<PageId> pages);
  ~Block() { release(); }
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;

  Block share() const;      // one more handle on the same pages
  void release() noexcept;  // lets go of the pages now; the handle is empty afterwards

  const CacheShape& shape() const { return shape_; }
  std::span<const PageId> pages() const { return pages_; }  // [n_layers][n_kv_heads]
  size_t bytes_if_released() const;                         // pages that nobody else owns

  Hash128 hash;  // the prefix cache's key; not looked at here

 private:
  PagePool* pool_;
  CacheShape shape_;
  std::vector<PageId> pages_;
};

}  // namespace fastcache::kv
