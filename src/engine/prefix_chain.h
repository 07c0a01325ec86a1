// SPDX-License-Identifier: Apache-2.0
// Names of prefixes: a chain of 128-bit hashes over the blocks of a prompt, begun with its namespace. A name
// only finds: whoever finds something compares the tokens themselves. Owner: the engine thread.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/hash.h"
#include "kv/token_table.h"

namespace fastcache::engine {

// Who may share with whom. Nothing crosses: two tenants (salts) never see each other's prefixes, rows that
// one press made (its name and all its parameters) never answer for another's or for plain rows, and rows
// computed with an adapter never for others.
struct PrefixNamespace {
  std::string tenant_salt;
  std::string press;         // canonical text; empty: rows as the model computed them
  std::string adapter = {};  // digest of the adapter's file; empty: computed without one
  auto operator<=>(const PrefixNamespace&) const = default;
};

// Views: valid for the call only.
struct PrefixPrompt {
  std::span<const kv::Token> tokens;
  std::span<const Hash128>
      image_digests;  // of the prompt's image i; tokens of an image beyond are never shared
};

using PrefixHash = Hash128 (*)(std::span<const std::byte>);  // tests pass bad ones
Hash128 prefix_hash(std::span<const std::byte> bytes);

Hash128 hash_of(const PrefixNamespace& name, PrefixHash hash);

// The digests of the images in the tokens, in order of appearance, runs counted once: what the tokens
// themselves do not say. All images must be known.
std::vector<Hash128> images_in(std::span<const kv::Token> tokens, std::span<const Hash128> image_digests);

// The chain along one prompt, computed as far as asked: O(tokens) for all blocks together.
class PrefixChain {
 public:
  PrefixChain(const PrefixPrompt& prompt, int block_tokens, const Hash128& root, PrefixHash hash);

  int shareable_tokens() const { return shareable_; }  // in front of the first unknown image
  // The name of the first n_tokens (at most shareable_tokens); those behind the last full block are hashed
  // anew in each call.
  Hash128 at(int n_tokens);

 private:
  Hash128 next(const Hash128& parent, std::span<const kv::Token> tokens);

  PrefixPrompt prompt_;
  int block_tokens_;
  PrefixHash hash_;
  int shareable_ = 0;
  std::vector<Hash128> blocks_;     // [full blocks so far + 1]: [0] is the root
  std::vector<std::byte> scratch_;  // what is hashed
};

}  // namespace fastcache::engine
