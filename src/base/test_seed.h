// SPDX-License-Identifier: Apache-2.0
// The seed of randomized tests: another one in each run, printed, and repeatable with
// FASTCACHE_TEST_SEED=<number>.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace fastcache {

inline uint64_t test_seed() {
  static const uint64_t seed = [] {
    const char* given = std::getenv("FASTCACHE_TEST_SEED");
    const uint64_t chosen = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("seed: FASTCACHE_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

}  // namespace fastcache
