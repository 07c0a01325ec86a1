// SPDX-License-Identifier: Apache-2.0
// Finding and remembering prefixes; dropping them has a file of its own.
#include "engine/prefix_cache.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <utility>

namespace fastcache::engine {

PrefixCache::PrefixCache(kv::PagePool& pool, const kv::CacheShape& shape, PrefixHash hash)
    : pool_(&pool), shape_(shape), hash_(hash) {}

PrefixSpaces::iterator PrefixCache::space_of(const PrefixNamespace& name) {
  const auto [space, is_new] = spaces_.try_emplace(name);
  if (is_new) space->second.root = hash_of(name, hash_);
  return space;
}

PrefixCache::Match PrefixCache::find(const PrefixNamespace& name, const PrefixPrompt& prompt) const {
  Match match;
  const auto found = spaces_.find(name);
  if (found == spaces_.end() || prompt.tokens.empty()) return match;
  const PrefixSpace& space = found->second;
  PrefixChain chain{prompt, shape_.rows(), space.root, hash_};
  const int limit = std::min(chain.shareable_tokens(), static_cast<int>(prompt.tokens.size()) - 1);

  PrefixEntry* parent = nullptr;
  for (int end = shape_.rows(); end <= limit; end += shape_.rows()) {
    const auto block = space.blocks.find(chain.at(end));
    const auto tokens = prompt.tokens.subspan(end - shape_.rows(), shape_.rows());
    if (block == space.blocks.end() || !block->second->is_block_of(parent, tokens, prompt.image_digests))
      break;
    parent = block->second;
    match.blocks.push_back(parent);
    match.n_tokens = end;
  }

  const auto& lengths = space.compressed_lengths;
  for (auto l = std::make_reverse_iterator(lengths.upper_bound(limit)); l != lengths.rend(); ++l) {
    const int length = l->first;
    if (length < match.n_tokens) break;
    const auto entry = space.compressed.find(chain.at(length));
    if (entry == space.compressed.end() ||
        !entry->second->is_sequence_of(prompt.tokens.first(length), prompt.image_digests))
      continue;
    match.compressed = entry->second;
    match.n_tokens = length;
    break;
  }
  return match;
}

int PrefixCache::cached_tokens(const PrefixNamespace& name, const PrefixPrompt& prompt) const {
  return find(name, prompt).n_tokens;
}

kv::Sequence PrefixCache::lookup(const PrefixNamespace& name, const PrefixPrompt& prompt) {
  const Match match = find(name, prompt);
  ++counts_.lookups;
  counts_.tokens_looked_up += static_cast<int64_t>(prompt.tokens.size());
  counts_.tokens_hit += match.n_tokens;
  if (match.compressed != nullptr) {
    touch(*match.compressed);
    kv::Sequence sequence = match.compressed->sequence().fork();
    sequence.set_state(kv::PageState::prefill);
    return sequence;
  }
  kv::Sequence sequence{*pool_, shape_};
  if (match.blocks.empty()) return sequence;
  touch_chain(match.blocks.back());
  std::vector<const kv::Block*> blocks;
  blocks.reserve(match.blocks.size());
  for (const PrefixEntry* entry : match.blocks) blocks.push_back(&entry->block());
  sequence.attach(blocks, prompt.tokens.first(match.n_tokens));
  return sequence;
}

PrefixEntry& PrefixCache::add(PrefixSpaces::iterator space, const Hash128& entry_name,
                              std::variant<kv::Block, kv::Sequence> rows) {
  PrefixEntry& entry = entries_.emplace_front(space, entry_name, std::move(rows));
  entry.self = entries_.begin();
  n_pages_ += entry.n_pages();
  return entry;
}

int PrefixCache::insert(const PrefixNamespace& name, std::span<const Hash128> image_digests,
                        const kv::Sequence& sequence) {
  assert(sequence.shape() == shape_);
  const PrefixPrompt prompt{sequence.tokens().tokens(), image_digests};
  const auto space = space_of(name);
  PrefixIndex& index = space->second.blocks;
  PrefixChain chain{prompt, shape_.rows(), space->second.root, hash_};

  PrefixEntry* parent = nullptr;
  int n_new = 0;
  for (int end = shape_.rows(); end <= chain.shareable_tokens(); end += shape_.rows()) {
    const Hash128 block_name = chain.at(end);
    const auto tokens = prompt.tokens.subspan(end - shape_.rows(), shape_.rows());
    const auto known = index.find(block_name);
    if (known != index.end()) {
      if (!known->second->is_block_of(parent, tokens, image_digests)) break;  // a collision: first come stays
      parent = known->second;
      continue;
    }
    const int block = end / shape_.rows() - 1;
    if (!sequence.can_share_block(block)) break;
    PrefixEntry& entry = add(space, block_name, sequence.share_block(block));
    entry.tokens.assign(tokens.begin(), tokens.end());
    entry.images = images_in(tokens, image_digests);
    add_child(parent, entry);
    index.emplace(block_name, &entry);
    ++counts_.blocks;
    parent = &entry;
    ++n_new;
  }
  touch_chain(parent);
  if (parent == nullptr && index.empty() && space->second.compressed.empty()) spaces_.erase(space);
  return n_new;
}

bool PrefixCache::insert_compressed(const PrefixNamespace& name, std::span<const Hash128> image_digests,
                                    const kv::Sequence& sequence) {
  assert(sequence.shape() == shape_ && !name.press.empty());
  const PrefixPrompt prompt{sequence.tokens().tokens(), image_digests};
  const int n_tokens = sequence.token_count();
  const kv::SequenceBytes bytes = sequence.bytes();
  if (bytes.exclusive + bytes.shared == 0) return false;  // nothing that evict() could ever win back

  const Hash128 root = hash_of(name, hash_);
  PrefixChain chain{prompt, shape_.rows(), root, hash_};
  if (chain.shareable_tokens() < n_tokens) return false;
  const Hash128 entry_name = chain.at(n_tokens);
  const auto space = space_of(name);
  const auto known = space->second.compressed.find(entry_name);
  if (known != space->second.compressed.end()) {
    if (known->second->is_sequence_of(prompt.tokens, image_digests)) touch(*known->second);
    return false;
  }
  PrefixEntry& entry = add(space, entry_name, sequence.fork(kv::PageOwner::block));
  entry.images = images_in(prompt.tokens, image_digests);
  space->second.compressed.emplace(entry_name, &entry);
  ++space->second.compressed_lengths[n_tokens];
  ++counts_.compressed_sequences;
  return true;
}

void PrefixCache::touch(PrefixEntry& entry) { entries_.splice(entries_.begin(), entries_, entry.self); }

// Last block first: what is used least recently is then a leaf.
void PrefixCache::touch_chain(PrefixEntry* last) {
  for (PrefixEntry* entry = last; entry != nullptr; entry = entry->parent) touch(*entry);
}

PrefixCacheStatistics PrefixCache::statistics() const {
  PrefixCacheStatistics statistics = counts_;
  statistics.bytes = n_pages_ * pool_->page_bytes();
  return statistics;
}

}  // namespace fastcache::engine
