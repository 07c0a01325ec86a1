// SPDX-License-Identifier: Apache-2.0
// Dropping entries of the prefix cache, and the proof that its parts agree.
#include <algorithm>
#include <cassert>
#include <string>

#include "base/error.h"
#include "engine/prefix_cache.h"
#include "kv/accounting.h"

namespace fastcache::engine {

void PrefixCache::drop(PrefixEntry& entry) {
  assert(entry.first_child == nullptr);
  remove_child(entry);
  n_pages_ -= entry.n_pages();
  const auto space = entry.space;
  PrefixSpace& in = space->second;
  if (entry.is_block()) {
    in.blocks.erase(entry.name);
    --counts_.blocks;
  } else {
    in.compressed.erase(entry.name);
    const auto length = in.compressed_lengths.find(entry.sequence().token_count());
    if (--length->second == 0) in.compressed_lengths.erase(length);
    --counts_.compressed_sequences;
  }
  entries_.erase(entry.self);
  if (in.blocks.empty() && in.compressed.empty()) spaces_.erase(space);
}

void PrefixCache::drop_tree(PrefixEntry& top) {
  for (PrefixEntry* entry = &top;;) {
    while (entry->first_child != nullptr) entry = entry->first_child;
    PrefixEntry* const parent = entry->parent;
    const bool last = entry == &top;
    drop(*entry);
    if (last) return;
    entry = parent;
  }
}

size_t PrefixCache::evict(size_t n_pages) {
  const size_t free_before = pool_->free_pages();
  const size_t free_wanted = free_before + std::min(n_pages, evictable_pages());
  const size_t n_before = entries_.size();
  evict_leaves(free_wanted);
  evict_trees(free_wanted);
  counts_.evictions += static_cast<int64_t>(n_before - entries_.size());
  return pool_->free_pages() - free_before;
}

// An entry whose pages all belong to sequences too is in use right now: it goes to the front like one just
// used, so that the next calls do not pass it again. The same for a block that others follow.
void PrefixCache::evict_leaves(size_t free_wanted) {
  for (size_t left = entries_.size(); left > 0 && pool_->free_pages() < free_wanted; --left) {
    PrefixEntry& oldest = entries_.back();
    if (oldest.first_child == nullptr && oldest.has_idle_page(*pool_))
      drop(oldest);
    else
      touch(oldest);
  }
}

// What evict_leaves() cannot reach: pages in front of blocks in use.
void PrefixCache::evict_trees(size_t free_wanted) {
  for (size_t left = entries_.size(); left > 0 && pool_->free_pages() < free_wanted; --left) {
    if (entries_.empty()) return;
    PrefixEntry& oldest = entries_.back();
    if (oldest.has_idle_page(*pool_))
      drop_tree(oldest);
    else
      touch(oldest);
  }
}

void PrefixCache::clear() {
  while (!entries_.empty()) drop_tree(entries_.back());
}

void PrefixCache::clear(const PrefixNamespace& name) {
  const auto space = spaces_.find(name);
  if (space == spaces_.end()) return;
  std::vector<PrefixEntry*> tops;
  for (const auto& [_, entry] : space->second.blocks)
    if (entry->parent == nullptr) tops.push_back(entry);
  for (const auto& [_, entry] : space->second.compressed) tops.push_back(entry);
  for (PrefixEntry* top : tops) drop_tree(*top);
}

void PrefixCache::check_entries() const {
  const auto require = [](bool holds, const char* what) {
    if (!holds) throw Error{Code::internal, std::string("prefix cache is inconsistent: ") + what};
  };
  size_t n_pages = 0, n_blocks = 0, n_indexed = 0, n_lengths = 0;
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    const PrefixIndex& index =
        entry->is_block() ? entry->space->second.blocks : entry->space->second.compressed;
    const auto indexed = index.find(entry->name);
    require(indexed != index.end() && indexed->second == &*entry, "an entry without its name in the index");
    require(&*entry->self == &*entry, "an entry that does not know its place");
    n_pages += entry->n_pages();
    n_blocks += entry->is_block() ? 1 : 0;
    const PrefixEntry* previous = nullptr;
    for (const PrefixEntry* child = entry->first_child; child != nullptr; child = child->next_sibling) {
      require(child->parent == &*entry && child->previous_sibling == previous, "children out of order");
      require(child->space == entry->space, "a chain through two namespaces");
      previous = child;
    }
  }
  for (const auto& [_, space] : spaces_) {
    n_indexed += space.blocks.size() + space.compressed.size();
    for (const auto& [length, n] : space.compressed_lengths) n_lengths += static_cast<size_t>(n);
    require(!space.blocks.empty() || !space.compressed.empty(), "a namespace without entries");
  }
  require(n_indexed == entries_.size(), "a name without its entry");
  require(n_pages == n_pages_ && n_blocks == counts_.blocks, "pages or blocks miscounted");
  require(n_lengths == counts_.compressed_sequences && n_blocks + n_lengths == entries_.size(),
          "compressed sequences miscounted");
}

void PrefixCache::check(std::span<const kv::Sequence* const> sequences) const {
  check_entries();
  std::vector<const kv::Sequence*> all{sequences.begin(), sequences.end()};
  std::vector<const kv::Block*> blocks;
  for (const PrefixEntry& entry : entries_) {
    if (entry.is_block())
      blocks.push_back(&entry.block());
    else
      all.push_back(&entry.sequence());
  }
  kv::check_consistency(*pool_, all, blocks);
}

}  // namespace fastcache::engine
