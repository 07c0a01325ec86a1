// SPDX-License-Identifier: Apache-2.0
// Memory for the weights of one model, many matrices in one huge page: a matrix of a small model is less than
// 2 MiB, and streaming it through 4 KiB pages costs a third of the decode speed (docs/performance.md). Any
// thread may allocate. A matrix shares the chunk that it lies in, so matrices may outlive the arena.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

namespace fastcache::linear {

class WeightArena {
 public:
  // Zeros, 64-byte aligned. Throws std::bad_alloc.
  std::shared_ptr<std::byte> allocate(size_t bytes);

 private:
  std::mutex mutex_;
  std::shared_ptr<std::byte> chunk_;
  size_t chunk_bytes_ = 0;
  size_t used_ = 0;
};

}  // namespace fastcache::linear
