// SPDX-License-Identifier: Apache-2.0
// Embeddings of pictures that were encoded before, by digest, up to so many bytes; the one longest unused
// goes first. What a request holds stays alive with it. Owner: the engine thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/hash.h"

namespace fastcache::engine {

class ImageCache {
 public:
  using Embeddings = std::shared_ptr<const std::vector<float>>;

  explicit ImageCache(size_t bytes) : limit_(bytes) {}

  Embeddings find(const Hash128& digest);                     // null: not there
  void insert(const Hash128& digest, Embeddings embeddings);  // one larger than all of the cache is not kept

  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    Hash128 digest;
    Embeddings embeddings;
    size_t bytes() const { return embeddings->size() * sizeof(float); }
  };
  struct Bucket {
    size_t operator()(const Hash128& digest) const { return static_cast<size_t>(digest.low); }
  };

  const size_t limit_;
  size_t bytes_ = 0;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<Hash128, std::list<Entry>::iterator, Bucket> by_digest_;
};

}  // namespace fastcache::engine
