// SPDX-License-Identifier: Apache-2.0
// Bytes at an address that suits full-width loads, in huge pages where the system has them.
#pragma once

#include <cstddef>
#include <memory>

namespace fastcache::linear {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size);  // contents are zero; throws std::bad_alloc

  std::byte* data() { return bytes_.get(); }
  const std::byte* data() const { return bytes_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  std::unique_ptr<std::byte[], Free> bytes_;
  size_t size_ = 0;
};

}  // namespace fastcache::linear
