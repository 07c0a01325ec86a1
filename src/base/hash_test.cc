// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <gtest/gtest.h>

#include <cstring>

namespace fastcache {
namespace {

std::span<const std::byte> bytes_of(const char* text) {
  return {reinterpret_cast<const std::byte*>(text), std::strlen(text)};
}

}  // namespace

// Stored on disk and compared between machines, so the values themselves are part of the contract (XXH3 test
// vectors made with xxhsum 0.8.1: printf abc | xxhsum -H3 / -H128).
TEST(Hash, IsXxh3OnEveryMachine) {
  EXPECT_EQ(hash64(bytes_of("abc")), 0x78af5f94892f3950ULL);
  EXPECT_EQ(to_hex(hash128(bytes_of("abc"))), "06b05ab6733a618578af5f94892f3950");
}

TEST(Hash, SeedAndContentMatter) {
  EXPECT_NE(hash64(bytes_of("abc"), 1), hash64(bytes_of("abc"), 2));
  EXPECT_NE(hash128(bytes_of("abc")), hash128(bytes_of("abd")));
  EXPECT_EQ(hash64({}), hash64({}));
}

}  // namespace fastcache
