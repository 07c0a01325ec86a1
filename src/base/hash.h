// SPDX-License-Identifier: Apache-2.0
// 64- and 128-bit content hashes (xxHash, XXH3): identity of files, prefixes and pictures. The same on every
// run and machine; not a defence against people who search for collisions (use a salt for tenants).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace fastcache {

struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const Hash128&) const = default;
};

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0);
Hash128 hash128(std::span<const std::byte> bytes, uint64_t seed = 0);
std::string to_hex(const Hash128& hash);  // 32 digits, high half first

}  // namespace fastcache
