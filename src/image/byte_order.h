// SPDX-License-Identifier: Apache-2.0
// Numbers out of bytes. The caller has looked that they are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fastcache::image {

inline uint32_t big_endian(std::span<const uint8_t> bytes, size_t at, size_t n_bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < n_bytes; ++i) value = (value << 8) | bytes[at + i];
  return value;
}

inline uint32_t little_endian(std::span<const uint8_t> bytes, size_t at, size_t n_bytes) {
  uint32_t value = 0;
  for (size_t i = n_bytes; i > 0; --i) value = (value << 8) | bytes[at + i - 1];
  return value;
}

}  // namespace fastcache::image
