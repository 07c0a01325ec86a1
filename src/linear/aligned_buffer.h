// SPDX-License-Identifier: Apache-2.0
// Bytes at an address that suits full-width loads, in huge pages where the system has them.
#pragma once

#include <cstddef>
#include <memory>

namespace fastcache::linear {

// Zeros, 2 MiB aligned, not yet touched; huge pages where the system gives them. Throws std::bad_alloc.
std::shared_ptr<std::byte> map_huge(size_t bytes);

class WeightArena;

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Contents are zero. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t size);
  AlignedBuffer(size_t size, WeightArena& arena);

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t size() const { return size_; }

 private:
  std::shared_ptr<std::byte> bytes_;
  size_t size_ = 0;
};

}  // namespace fastcache::linear
