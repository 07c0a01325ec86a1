// SPDX-License-Identifier: Apache-2.0
#include "engine/image_cache.h"

#include <utility>

namespace fastcache::engine {

ImageCache::Embeddings ImageCache::find(const Hash128& digest) {
  const auto at = by_digest_.find(digest);
  if (at == by_digest_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, at->second);
  return entries_.front().embeddings;
}

void ImageCache::insert(const Hash128& digest, Embeddings embeddings) {
  Entry entry{digest, std::move(embeddings)};
  if (entry.bytes() > limit_ || by_digest_.contains(digest)) return;
  bytes_ += entry.bytes();
  entries_.push_front(std::move(entry));
  by_digest_[digest] = entries_.begin();
  while (bytes_ > limit_) {
    bytes_ -= entries_.back().bytes();
    by_digest_.erase(entries_.back().digest);
    entries_.pop_back();
  }
}

}  // namespace fastcache::engine
