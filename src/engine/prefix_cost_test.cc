// SPDX-License-Identifier: Apache-2.0
// With 100,000 blocks nothing is quadratic. Times are printed; the limits tell n from n * n only.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "engine/prefix_cache.h"
#include "engine/prefix_test_prompts.h"

namespace fastcache::engine {
namespace {

const PrefixNamespace kPlain{"a", ""};

using Clock = std::chrono::steady_clock;
double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

constexpr kv::CacheShape kSmallShape{.n_layers = 1, .n_kv_heads = 1, .type = kv::KvType::f32};
constexpr int kManyBlocks = 100'000;

// All idle blocks go, one by one or at once; beside them `n_in_use` blocks of a running sequence.
double drop_ms(int n_in_use, bool one_by_one) {
  kv::PagePool pool{kv::test_pool(kManyBlocks + 16, 0, {kv::KvType::f32})};
  PrefixCache cache{pool, kSmallShape};
  const auto grow = [&](kv::Sequence& sequence, int n_blocks, int first_id) {
    EXPECT_TRUE(sequence.append(text_of(n_blocks * kSmallShape.rows(), first_id)));
    EXPECT_EQ(cache.insert(kPlain, {}, sequence), n_blocks);
  };
  kv::Sequence running{pool, kSmallShape};
  grow(running, n_in_use, 1);
  for (int chain = 0; chain < 100; ++chain) {
    kv::Sequence sequence{pool, kSmallShape};
    grow(sequence, (kManyBlocks - n_in_use) / 100, 100'000'000 + chain);
  }
  const auto begin = Clock::now();
  if (!one_by_one) cache.clear();
  while (cache.evictable_pages() > 0) EXPECT_EQ(cache.evict(1), 1U);
  return ms_since(begin);
}

// clear() goes through the same memory once: 100,000 calls cost a few times that, not 100,000 times.
TEST(PrefixCacheCost, EvictionOneByOneCostsLittleMoreThanClear) {
  for (const int n_in_use : {0, kManyBlocks / 2}) {
    const double clear = drop_ms(n_in_use, false), evict = drop_ms(n_in_use, true);
    std::printf("%d blocks, %d in use: clear %.1f ms, evict one by one %.1f ms\n", kManyBlocks, n_in_use,
                clear, evict);
    EXPECT_LT(evict, 20 * clear);
  }
}

double chain_ms(int n_blocks) {
  kv::PagePool pool{kv::test_pool(n_blocks + 16, 0, {kv::KvType::f32})};
  PrefixCache cache{pool, kSmallShape};
  const Tokens tokens = text_of(n_blocks * kSmallShape.rows() + 1, 1);
  kv::Sequence sequence{pool, kSmallShape};
  EXPECT_TRUE(sequence.append(tokens));
  const auto begin = Clock::now();
  EXPECT_EQ(cache.insert(kPlain, {}, sequence), n_blocks);
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(cache.lookup(kPlain, {tokens, {}}).token_count(), n_blocks * kSmallShape.rows());
  return ms_since(begin);
}

// Ten times the blocks: ten times the work where it is linear, up to five times that again where the larger
// one leaves the processor's caches; at least a hundred times where it is quadratic.
TEST(PrefixCacheCost, LookupsOfLongChainsAreLinear) {
  const double small = std::min(chain_ms(kManyBlocks / 10), chain_ms(kManyBlocks / 10));
  const double large = std::min(chain_ms(kManyBlocks), chain_ms(kManyBlocks));
  std::printf("insert and 3 lookups: %d blocks %.1f ms, %d blocks %.1f ms\n", kManyBlocks / 10, small,
              kManyBlocks, large);
  EXPECT_LT(large / small, 60);
}

}  // namespace
}  // namespace fastcache::engine
