// SPDX-License-Identifier: Apache-2.0
#include "linear/weight_arena.h"

#include <algorithm>

#include "linear/aligned_buffer.h"

namespace fastcache::linear {
namespace {

constexpr size_t kChunk = size_t{32} << 20;  // pages that are never touched cost nothing
constexpr size_t kAlignment = 64;

}  // namespace

std::shared_ptr<std::byte> WeightArena::allocate(size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  const std::lock_guard lock(mutex_);
  if (chunk_ == nullptr || used_ + bytes > chunk_bytes_) {
    chunk_bytes_ = std::max(bytes, kChunk);
    chunk_ = map_huge(chunk_bytes_);
    used_ = 0;
  }
  const size_t at = used_;
  used_ += bytes;
  return {chunk_, chunk_.get() + at};
}

}  // namespace fastcache::linear
