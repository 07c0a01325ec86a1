// SPDX-License-Identifier: Apache-2.0
// What the prefix cache consists of: entries, in the order of their last use and, for blocks, in trees. Part
// of PrefixCache.
//
// Invariants: a block's parent is there as long as it is; every entry stands in its space's index under its
// name, and a space without entries does not exist.
#pragma once

#include <list>
#include <map>
#include <unordered_map>
#include <variant>
#include <vector>

#include "engine/prefix_chain.h"
#include "kv/block.h"
#include "kv/sequence.h"

namespace fastcache::engine {

struct PrefixEntry;

struct BucketOfName {
  size_t operator()(const Hash128& name) const { return static_cast<size_t>(name.low); }
};
using PrefixIndex = std::unordered_map<Hash128, PrefixEntry*, BucketOfName>;

struct PrefixSpace {  // all entries of one namespace
  Hash128 root;
  PrefixIndex blocks;
  PrefixIndex compressed;
  std::map<int, int> compressed_lengths;  // tokens -> entries: the lengths that a lookup must try
};
using PrefixSpaces = std::map<PrefixNamespace, PrefixSpace>;

// A block of tokens, or a whole compressed sequence.
struct PrefixEntry {
  PrefixEntry(PrefixSpaces::iterator in_space, const Hash128& its_name,
              std::variant<kv::Block, kv::Sequence> its_rows)
      : space(in_space), name(its_name), rows(std::move(its_rows)) {}

  PrefixSpaces::iterator space;
  Hash128 name;
  std::variant<kv::Block, kv::Sequence> rows;
  std::vector<kv::Token> tokens;  // of a block; a sequence knows its own
  std::vector<Hash128> images;    // images_in(tokens)

  PrefixEntry* parent = nullptr;  // null: the block is the first of its chain, or this is a sequence
  PrefixEntry* first_child = nullptr;
  PrefixEntry* previous_sibling = nullptr;
  PrefixEntry* next_sibling = nullptr;

  std::list<PrefixEntry>::iterator self;

  bool is_block() const { return std::holds_alternative<kv::Block>(rows); }
  const kv::Block& block() const { return std::get<kv::Block>(rows); }
  const kv::Sequence& sequence() const { return std::get<kv::Sequence>(rows); }

  // A name alone proves nothing.
  bool is_block_of(const PrefixEntry* its_parent, std::span<const kv::Token> its_tokens,
                   std::span<const Hash128> digests) const;
  bool is_sequence_of(std::span<const kv::Token> its_tokens, std::span<const Hash128> digests) const;

  size_t n_pages() const;
  bool has_idle_page(const kv::PagePool& pool) const;  // that no sequence owns; other entries may
};

void add_child(PrefixEntry* parent, PrefixEntry& child);  // parent may be null
void remove_child(PrefixEntry& child);

}  // namespace fastcache::engine
