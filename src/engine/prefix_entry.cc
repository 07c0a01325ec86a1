// SPDX-License-Identifier: Apache-2.0
#include "engine/prefix_entry.h"

#include <algorithm>

namespace fastcache::engine {
namespace {

// Whether the predicate holds for any of the entry's pages.
template <class Predicate>
bool any_page(const PrefixEntry& entry, const Predicate& holds) {
  if (entry.is_block()) return std::any_of(entry.block().pages().begin(), entry.block().pages().end(), holds);
  const kv::CacheShape& shape = entry.sequence().shape();
  bool found = false;
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      entry.sequence().table(layer, head).for_each_page([&](kv::PageId page) {
        found = found || holds(page);
      });
  return found;
}

}  // namespace

bool PrefixEntry::is_block_of(const PrefixEntry* its_parent, std::span<const kv::Token> its_tokens,
                              std::span<const Hash128> digests) const {
  return parent == its_parent && std::ranges::equal(tokens, its_tokens) &&
         images == images_in(its_tokens, digests);
}

bool PrefixEntry::is_sequence_of(std::span<const kv::Token> its_tokens,
                                 std::span<const Hash128> digests) const {
  return std::ranges::equal(sequence().tokens().tokens(), its_tokens) &&
         images == images_in(its_tokens, digests);
}

size_t PrefixEntry::n_pages() const {
  size_t n = 0;
  any_page(*this, [&n](kv::PageId) {
    ++n;
    return false;
  });
  return n;
}

bool PrefixEntry::has_idle_page(const kv::PagePool& pool) const {
  return any_page(*this, [&pool](kv::PageId page) { return pool.prefix_cached(page); });
}

void add_child(PrefixEntry* parent, PrefixEntry& child) {
  child.parent = parent;
  if (parent == nullptr) return;
  child.next_sibling = parent->first_child;
  if (child.next_sibling != nullptr) child.next_sibling->previous_sibling = &child;
  parent->first_child = &child;
}

void remove_child(PrefixEntry& child) {
  if (child.parent == nullptr) return;
  if (child.next_sibling != nullptr) child.next_sibling->previous_sibling = child.previous_sibling;
  if (child.previous_sibling != nullptr)
    child.previous_sibling->next_sibling = child.next_sibling;
  else
    child.parent->first_child = child.next_sibling;
}

}  // namespace fastcache::engine
