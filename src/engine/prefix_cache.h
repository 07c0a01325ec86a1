// SPDX-License-Identifier: Apache-2.0
// Remembers the rows of prompts, so that a prompt that begins like an earlier one starts from them. Two kinds
// of entry: full blocks of plain rows, in trees (kv::Block), and whole compressed sequences, so that a
// conversation's next turn starts from its compressed rows. Pages are shared, never copied; nothing here
// allocates a page.
//
// Owner: the engine thread. One cache for each (pool, cache shape); whatever counts as prefix_cached in the
// pool must be this cache's. The pool outlives it.
//
// A hit is a sequence that owns the rows from then on: nothing is pinned, and the cache may drop any entry at
// any time. Pages that sequences own too are not lost with it, and not won either.
//
// Layers with a sliding window. A block has its rows in all layers: a hit may end anywhere, and what it sees
// then must be there. So the step loop inserts a sequence's blocks before the pages that its windows have
// left are freed; the cache keeps these, evictable as all else. Blocks that were never inserted and that a
// sequence no longer holds in some layer cannot be shared, and end the chain. A compressed sequence is
// remembered without what its windows freed: only prompts that go on behind exactly its tokens find it, and
// they see none of that.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "engine/prefix_entry.h"

namespace fastcache::engine {

struct PrefixCacheStatistics {
  int64_t lookups = 0;
  int64_t tokens_looked_up = 0;
  int64_t tokens_hit = 0;
  int64_t evictions = 0;  // entries dropped by evict()
  // Now:
  size_t blocks = 0;
  size_t compressed_sequences = 0;
  size_t bytes = 0;  // of all entries' pages; a page of two entries counts twice. Memory: PagePool::usage()
};

class PrefixCache {
 public:
  PrefixCache(kv::PagePool& pool, const kv::CacheShape& shape, PrefixHash hash = prefix_hash);
  ~PrefixCache() = default;
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // A sequence with the longest known prefix, at most all tokens but one: that one's logits are still wanted.
  // Empty when nothing is known. A compressed sequence wins over blocks of the same length. The hit may end
  // within an image; truncate_to() goes back to where the image begins. O(tokens).
  kv::Sequence lookup(const PrefixNamespace& name, const PrefixPrompt& prompt);

  // What lookup() would find, in tokens; counts and touches nothing.
  int cached_tokens(const PrefixNamespace& name, const PrefixPrompt& prompt) const;

  // Between steps: remembers the sequence's full plain blocks, from the first on, up to the first that is
  // neither known nor shareable. Blocks known already stay as they are (the sequence keeps its own pages).
  // O(tokens): for the end of a prefill and the end of a sequence, not for every block. Returns how many are
  // new.
  int insert(const PrefixNamespace& name, std::span<const Hash128> image_digests,
             const kv::Sequence& sequence);

  // Between steps: remembers the whole sequence as it is, for prompts that go on after exactly its tokens.
  // name.press must not be empty. False: known already, no rows, or an image without a digest.
  bool insert_compressed(const PrefixNamespace& name, std::span<const Hash128> image_digests,
                         const kv::Sequence& sequence);

  // Pages that evict() can free right now: those that no sequence owns. Exact, O(1).
  size_t evictable_pages() const { return pool_->usage().prefix_cached / pool_->page_bytes(); }

  // Frees at least min(n_pages, evictable_pages()) pages, a few more where a whole entry is larger; returns
  // how many. From the least recently used entry on, but only last blocks of their chains, and none whose
  // pages all belong to sequences too: that frees nothing. Such a block goes only with an earlier one of its
  // chain, where there is no other way to the pages wanted.
  size_t evict(size_t n_pages);

  void clear();
  void clear(const PrefixNamespace& name);

  PrefixCacheStatistics statistics() const;

  // Throws Error (internal) unless the entries, the pool and the sequences agree. All sequences that live on
  // the pool must be given. Walks everything: for tests.
  void check(std::span<const kv::Sequence* const> sequences) const;

 private:
  struct Match {
    std::vector<PrefixEntry*> blocks;   // from the first of the chain on
    PrefixEntry* compressed = nullptr;  // where set, it is the longer one
    int n_tokens = 0;
  };

  Match find(const PrefixNamespace& name, const PrefixPrompt& prompt) const;
  PrefixSpaces::iterator space_of(const PrefixNamespace& name);
  PrefixEntry& add(PrefixSpaces::iterator space, const Hash128& entry_name,
                   std::variant<kv::Block, kv::Sequence> rows);
  void touch(PrefixEntry& entry);
  void touch_chain(PrefixEntry* last);
  void drop(PrefixEntry& entry);  // a leaf
  void drop_tree(PrefixEntry& top);
  void evict_leaves(size_t free_wanted);
  void evict_trees(size_t free_wanted);
  void check_entries() const;

  kv::PagePool* pool_;
  kv::CacheShape shape_;
  PrefixHash hash_;
  PrefixSpaces spaces_;
  std::list<PrefixEntry> entries_;  // most recently used first
  size_t n_pages_ = 0;              // of all entries
  PrefixCacheStatistics counts_;
};

}  // namespace fastcache::engine
