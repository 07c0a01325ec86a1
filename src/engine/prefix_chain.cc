// SPDX-License-Identifier: Apache-2.0
#include "engine/prefix_chain.h"

#include <cassert>
#include <cstring>
#include <type_traits>

namespace fastcache::engine {
namespace {

static_assert(std::has_unique_object_representations_v<kv::Token>, "tokens are hashed as bytes");

void push_bytes(std::vector<std::byte>& to, std::span<const std::byte> bytes) {
  const size_t size = to.size();
  to.resize(size + bytes.size());
  if (!bytes.empty()) std::memcpy(to.data() + size, bytes.data(), bytes.size());
}

}  // namespace

Hash128 prefix_hash(std::span<const std::byte> bytes) { return hash128(bytes); }

Hash128 hash_of(const PrefixNamespace& name, PrefixHash hash) {
  std::vector<std::byte> bytes;
  for (const std::string* part : {&name.tenant_salt, &name.adapter, &name.press}) {
    const size_t n = part->size();  // so that text cannot move from one to the next
    push_bytes(bytes, std::as_bytes(std::span{&n, 1}));
    push_bytes(bytes, std::as_bytes(std::span{*part}));
  }
  return hash(bytes);
}

std::vector<Hash128> images_in(std::span<const kv::Token> tokens, std::span<const Hash128> image_digests) {
  std::vector<Hash128> digests;
  int32_t previous = -1;
  for (const kv::Token& token : tokens) {
    if (token.image >= 0 && token.image != previous) digests.push_back(image_digests[token.image]);
    previous = token.image;
  }
  return digests;
}

PrefixChain::PrefixChain(const PrefixPrompt& prompt, int block_tokens, const Hash128& root, PrefixHash hash)
    : prompt_(prompt), block_tokens_(block_tokens), hash_(hash), blocks_{root} {
  const int n_images = static_cast<int>(prompt.image_digests.size());
  for (const kv::Token& token : prompt.tokens) {
    if (token.image >= n_images) break;
    ++shareable_;
  }
}

Hash128 PrefixChain::at(int n_tokens) {
  assert(n_tokens >= 0 && n_tokens <= shareable_);
  const size_t n_blocks = static_cast<size_t>(n_tokens / block_tokens_);
  while (blocks_.size() <= n_blocks) {
    const size_t begin = (blocks_.size() - 1) * block_tokens_;
    blocks_.push_back(next(blocks_.back(), prompt_.tokens.subspan(begin, block_tokens_)));
  }
  const int tail = n_tokens % block_tokens_;
  return tail == 0 ? blocks_[n_blocks]
                   : next(blocks_[n_blocks], prompt_.tokens.subspan(n_tokens - tail, tail));
}

Hash128 PrefixChain::next(const Hash128& parent, std::span<const kv::Token> tokens) {
  scratch_.clear();
  push_bytes(scratch_, std::as_bytes(std::span{&parent, 1}));
  push_bytes(scratch_, std::as_bytes(tokens));
  const std::vector<Hash128> digests = images_in(tokens, prompt_.image_digests);
  push_bytes(scratch_, std::as_bytes(std::span{digests}));
  return hash_(scratch_);
}

}  // namespace fastcache::engine
