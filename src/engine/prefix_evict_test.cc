// SPDX-License-Identifier: Apache-2.0
// What evict() drops, in which order, and that evictable_pages() says beforehand what it can free.
#include <gtest/gtest.h>

#include "engine/prefix_cache.h"
#include "engine/prefix_test_prompts.h"

namespace fastcache::engine {
namespace {

constexpr kv::CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::bf16};  // 4 pages a block
const PrefixNamespace kPlain{"a", ""};
const PrefixNamespace kPressed{"a", "keep"};

struct PrefixEvictTest : testing::Test {
  kv::PagePool pool{kv::test_pool(200)};
  PrefixCache cache{pool, kShape};

  kv::Sequence remembered(const Tokens& tokens) {
    kv::Sequence sequence{pool, kShape};
    EXPECT_TRUE(append_rest(sequence, kPlain, tokens));
    cache.insert(kPlain, {}, sequence);
    return sequence;
  }
  int known(const Tokens& tokens) const { return cache.cached_tokens(kPlain, {tokens, {}}); }
};

TEST_F(PrefixEvictTest, LeastRecentlyUsedFirstAndLeavesFirst) {
  const Tokens a = text_of(40, 0), b = text_of(40, 100), c = text_of(40, 200);
  for (const Tokens& tokens : {a, b, c}) remembered(tokens);
  EXPECT_EQ(cache.evictable_pages(), 24U);
  cache.lookup(kPlain, {a, {}});
  EXPECT_EQ(cache.evict(0), 0U);
  EXPECT_EQ(cache.evict(1), 4U) << "a block goes whole";
  EXPECT_EQ(known(b), 16);
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(b), 0);
  EXPECT_EQ(cache.evict(5), 8U);
  EXPECT_EQ(known(c), 0);
  EXPECT_EQ(known(a), 32);
  EXPECT_EQ(cache.evict(1000), 8U);
  EXPECT_EQ(cache.evictable_pages(), 0U);
  EXPECT_EQ(cache.evict(1), 0U);
  EXPECT_EQ(cache.statistics().evictions, 6);
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
}

TEST_F(PrefixEvictTest, WhatOthersFollowIsUsedWithThem) {
  Tokens stem = text_of(16, 0), a = stem, b = stem;
  for (int t = 16; t < 40; ++t) {
    a.push_back(kv::text_token(500 + t, t));
    b.push_back(kv::text_token(900 + t, t));
  }
  remembered(a);
  remembered(b);
  const Tokens other = text_of(20, 300);
  remembered(other);
  cache.lookup(kPlain, {a, {}});
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(b), 16) << "its own block went, the common one was used by a";
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(other), 0);
  EXPECT_EQ(known(a), 32);
}

TEST_F(PrefixEvictTest, BlocksOfRunningSequencesStay) {
  const Tokens a = text_of(50, 0), b = text_of(50, 100);
  const kv::Sequence running = remembered(a);
  remembered(b);
  EXPECT_EQ(cache.evictable_pages(), 12U);
  EXPECT_EQ(cache.evict(1000), 12U);
  EXPECT_EQ(known(a), 48);
  EXPECT_EQ(known(b), 0);
  EXPECT_EQ(cache.statistics().evictions, 3);
  EXPECT_EQ(cache.evictable_pages(), 0U);
}

TEST_F(PrefixEvictTest, AHitKeepsItsPagesWhateverIsDropped) {
  const Tokens a = text_of(50, 0);
  remembered(a);
  EXPECT_EQ(cache.evictable_pages(), 12U);
  {
    const kv::Sequence found = cache.lookup(kPlain, {a, {}});
    EXPECT_EQ(cache.evictable_pages(), 0U);
    cache.clear();
    expect_rows_of(found, kPlain, a);
    cache.check({{&found}});
  }
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
}

// A block of a running sequence behind blocks that nobody runs on any more.
TEST_F(PrefixEvictTest, PagesInFrontOfABlockInUseAreCountedAndCome) {
  const Tokens long_one = text_of(50, 0);
  const Tokens unrelated = text_of(40, 300);
  const kv::Sequence bystander = remembered(unrelated);
  remembered({long_one.begin(), long_one.begin() + 32});
  kv::Sequence sequence{pool, kShape};  // has pages of its own for what is known
  ASSERT_TRUE(append_rest(sequence, kPlain, long_one));
  EXPECT_EQ(cache.insert(kPlain, {}, sequence), 1);
  const Tokens idle = text_of(20, 500);
  remembered(idle);
  EXPECT_EQ(cache.evictable_pages(), 12U);
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(idle), 0) << "younger, but in front of nothing";
  EXPECT_EQ(known(long_one), 48);
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(long_one), 16);
  EXPECT_EQ(cache.evictable_pages(), 4U);
  EXPECT_EQ(cache.evict(4), 4U);
  EXPECT_EQ(known(unrelated), 32) << "nothing was to be had there";
  cache.check({{&sequence, &bystander}});
}

TEST_F(PrefixEvictTest, WindowedSequencesLetTheirFirstPagesGo) {
  kv::Sequence sequence = remembered(text_of(64, 0));
  sequence.free_before(0, 32);
  EXPECT_EQ(cache.evictable_pages(), 4U);
  EXPECT_EQ(cache.evict(100), 4U);
  EXPECT_EQ(cache.evictable_pages(), 0U);
  cache.check({{&sequence}});
}

TEST_F(PrefixEvictTest, CompressedSequencesCountExactly) {
  const Tokens tokens = text_of(64, 0);
  kv::Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_rest(sequence, kPressed, tokens));
  cache.insert(kPressed, {}, sequence);  // its rows as blocks too
  const std::vector<int32_t> half_of_them = [] {
    std::vector<int32_t> rows;
    for (int r = 0; r < 32; ++r) rows.push_back(r);  // the first two pages stay where they are: shared
    return rows;
  }();
  for (int pair = 0; pair < 4; ++pair) ASSERT_TRUE(sequence.keep_rows(pair / 2, pair % 2, half_of_them));
  EXPECT_EQ(cache.evictable_pages(), 8U) << "blocks 2 and 3";
  ASSERT_TRUE(cache.insert_compressed(kPressed, {}, sequence));
  EXPECT_EQ(cache.evictable_pages(), 8U);
  sequence.release();
  EXPECT_EQ(cache.evictable_pages(), 16U);
  EXPECT_EQ(pool.usage().prefix_cached, 16 * pool.page_bytes());
  EXPECT_EQ(cache.evict(16), 16U);
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
}

TEST_F(PrefixEvictTest, CompressedSequencesGoByLastUse) {
  const auto remember_at = [&](int first_id) {
    kv::Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_rest(sequence, kPressed, text_of(20, first_id)));
    for (int pair = 0; pair < 4; ++pair) ASSERT_TRUE(sequence.keep_rows(pair / 2, pair % 2, {{0, 7, 19}}));
    ASSERT_TRUE(cache.insert_compressed(kPressed, {}, sequence));
  };
  const auto is_known = [&](int first_id) {
    return cache.cached_tokens(kPressed, {text_of(30, first_id), {}}) == 20;
  };
  for (const int first_id : {0, 100, 200}) remember_at(first_id);
  cache.lookup(kPressed, {text_of(30, 0), {}});
  EXPECT_EQ(cache.evictable_pages(), 12U);
  EXPECT_EQ(cache.evict(3), 4U);
  EXPECT_FALSE(is_known(100));
  EXPECT_EQ(cache.evict(3), 4U);
  EXPECT_FALSE(is_known(200));
  EXPECT_TRUE(is_known(0));
}

// The second turn's rows go on from the first's: their common pages come free with the second of them.
TEST_F(PrefixEvictTest, TurnsOfOneConversationShareTheirPages) {
  const Tokens tokens = text_of(40, 0);
  kv::Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_rest(sequence, kPressed, {tokens.begin(), tokens.begin() + 20}));
  std::vector<int32_t> rows(16);
  for (int r = 0; r < 16; ++r) rows[r] = r;
  for (int pair = 0; pair < 4; ++pair) ASSERT_TRUE(sequence.keep_rows(pair / 2, pair % 2, rows));
  ASSERT_TRUE(cache.insert_compressed(kPressed, {}, sequence));
  ASSERT_TRUE(append_rest(sequence, kPressed, tokens));
  ASSERT_TRUE(cache.insert_compressed(kPressed, {}, sequence));
  EXPECT_EQ(cache.evictable_pages(), 0U);
  sequence.release();
  EXPECT_EQ(cache.evictable_pages(), 12U);
  EXPECT_EQ(cache.statistics().bytes, 16 * pool.page_bytes());
  EXPECT_EQ(cache.evict(1), 12U);
  EXPECT_EQ(cache.statistics().compressed_sequences, 0U);
  cache.check({});
}

}  // namespace
}  // namespace fastcache::engine
