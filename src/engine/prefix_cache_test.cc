// SPDX-License-Identifier: Apache-2.0
// What is found, and for whom. Collisions, eviction and random operations have files of their own.
#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include "engine/prefix_test_prompts.h"

namespace fastcache::engine {
namespace {

constexpr kv::CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::bf16};  // 4 pages a block
const PrefixNamespace kPlain{"a", ""};
const PrefixNamespace kPressed{"a", "keep{ratio=0.5}"};

struct PrefixCacheTest : testing::Test {
  kv::PagePool pool{kv::test_pool(200)};
  PrefixCache cache{pool, kShape};

  kv::Sequence sequence_of(const PrefixNamespace& name, const Tokens& tokens, const Digests& digests = {}) {
    kv::Sequence sequence{pool, kShape};
    EXPECT_TRUE(append_rest(sequence, name, tokens, digests));
    return sequence;
  }
  void remember(const PrefixNamespace& name, const Tokens& tokens, const Digests& digests = {}) {
    cache.insert(name, digests, sequence_of(name, tokens, digests));
  }
  int hit(const PrefixNamespace& name, const Tokens& tokens, const Digests& digests = {}) {
    const kv::Sequence sequence = cache.lookup(name, {tokens, digests});
    expect_rows_of(sequence, name, tokens, digests);
    return sequence.token_count();
  }
};

Tokens first_of(const Tokens& tokens, int n) { return {tokens.begin(), tokens.begin() + n}; }

TEST_F(PrefixCacheTest, FullBlocksAreFoundAndOneTokenIsLeft) {
  const Tokens tokens = text_of(50, 100);
  EXPECT_EQ(hit(kPlain, tokens), 0);
  remember(kPlain, tokens);
  EXPECT_EQ(hit(kPlain, tokens), 48);
  EXPECT_EQ(hit(kPlain, first_of(tokens, 49)), 48);
  EXPECT_EQ(hit(kPlain, first_of(tokens, 48)), 32) << "a token must remain";
  EXPECT_EQ(hit(kPlain, first_of(tokens, 17)), 16);
  EXPECT_EQ(hit(kPlain, first_of(tokens, 16)), 0);
  EXPECT_EQ(hit(kPlain, {}), 0);
  Tokens other = tokens;
  other[20].id = 7;
  EXPECT_EQ(hit(kPlain, other), 16);
  other[0].id = 7;
  EXPECT_EQ(hit(kPlain, other), 0);
}

TEST_F(PrefixCacheTest, HitsShareThePages) {
  remember(kPlain, text_of(50, 100));
  const size_t free = pool.free_pages();
  const kv::Sequence one = cache.lookup(kPlain, {text_of(50, 100), {}});
  const kv::Sequence two = cache.lookup(kPlain, {text_of(40, 100), {}});
  EXPECT_EQ(pool.free_pages(), free);
  cache.check({{&one, &two}});
}

TEST_F(PrefixCacheTest, SameTokensAtOtherPositionsAreOthers) {
  const Tokens tokens = text_of(40, 100);
  remember(kPlain, tokens);
  for (int section = 0; section < 4; ++section) {
    Tokens moved = tokens;
    for (size_t t = 16; t < moved.size(); ++t) moved[t].position[section] += 1;
    EXPECT_EQ(hit(kPlain, moved), 16) << "section " << section;
  }
}

TEST_F(PrefixCacheTest, NothingCrossesNamespaces) {
  const Tokens tokens = text_of(40, 100);
  remember(kPlain, tokens);
  remember(kPressed, tokens);
  for (const PrefixNamespace& other :
       {PrefixNamespace{"b", ""}, PrefixNamespace{"", "a"}, PrefixNamespace{"", ""},
        PrefixNamespace{"a", "keep{ratio=0.6}"}, PrefixNamespace{"akeep{ratio=0.5}", ""},
        PrefixNamespace{"a", "", "lora"}, PrefixNamespace{"a", "keep{ratio=0.5}", "lora"},
        PrefixNamespace{"a", "", "keep{ratio=0.5}"}, PrefixNamespace{"", "", "a"}}) {
    EXPECT_EQ(hit(other, tokens), 0) << other.tenant_salt << "|" << other.press;
    EXPECT_NE(hash_of(other, prefix_hash), hash_of(kPlain, prefix_hash));
    EXPECT_NE(hash_of(other, prefix_hash), hash_of(kPressed, prefix_hash));
  }
  EXPECT_EQ(hit(kPressed, tokens), 32);
  cache.clear(kPressed);
  EXPECT_EQ(hit(kPressed, tokens), 0);
  EXPECT_EQ(hit(kPlain, tokens), 32);
}

TEST_F(PrefixCacheTest, PicturesAreToldApartByTheirDigests) {
  Tokens tokens = text_of(40, 100);
  for (int t = 20; t < 24; ++t) tokens[t].id = -1, tokens[t].image = 0;
  for (int t = 34; t < 36; ++t) tokens[t].id = -1, tokens[t].image = 1;
  const Digests digests{{1, 1}, {2, 2}};
  tokens.resize(49, kv::text_token(5, 60));
  remember(kPlain, tokens, digests);
  EXPECT_EQ(hit(kPlain, tokens, digests), 48);
  EXPECT_EQ(hit(kPlain, tokens, {{1, 1}, {2, 3}}), 32);
  EXPECT_EQ(hit(kPlain, tokens, {{2, 2}, {1, 1}}), 16);
  EXPECT_EQ(hit(kPlain, tokens, {{1, 1}}), 32) << "of an unknown picture nothing is known";
  EXPECT_EQ(hit(kPlain, tokens), 16);
  remember(kPlain, tokens, {{1, 1}, {2, 3}});
  EXPECT_EQ(hit(kPlain, tokens, {{1, 1}, {2, 3}}), 48);
  EXPECT_EQ(hit(kPlain, tokens, digests), 48);
  cache.clear();
  remember(kPlain, tokens, {{1, 1}});
  EXPECT_EQ(hit(kPlain, tokens, digests), 32);
  kv::Sequence pressed = sequence_of(kPressed, tokens, digests);
  EXPECT_FALSE(cache.insert_compressed(kPressed, {}, halve(pressed)));
}

TEST_F(PrefixCacheTest, BlocksKnownAreNotInsertedTwice) {
  const Tokens tokens = text_of(50, 100);
  const kv::Sequence one = sequence_of(kPlain, tokens);
  const kv::Sequence two = sequence_of(kPlain, first_of(tokens, 40));
  EXPECT_EQ(cache.insert(kPlain, {}, two), 2);
  EXPECT_EQ(cache.insert(kPlain, {}, two), 0);
  EXPECT_EQ(cache.insert(kPlain, {}, one), 1);
  EXPECT_EQ(cache.statistics().blocks, 3U);
  EXPECT_EQ(cache.statistics().bytes, 12 * pool.page_bytes());
  cache.check({{&one, &two}});
  EXPECT_EQ(hit(kPlain, tokens), 48);
}

TEST_F(PrefixCacheTest, AHitGoesOnAndItsNewBlocksAreRemembered) {
  const Tokens tokens = text_of(80, 100);
  remember(kPlain, first_of(tokens, 40));
  kv::Sequence sequence = cache.lookup(kPlain, {tokens, {}});
  ASSERT_EQ(sequence.token_count(), 32);
  ASSERT_TRUE(append_rest(sequence, kPlain, tokens));
  EXPECT_EQ(cache.insert(kPlain, {}, sequence), 3);
  sequence.free_before(0, 64);
  ASSERT_TRUE(append_rest(sequence, kPlain, text_of(100, 100)));
  EXPECT_EQ(cache.insert(kPlain, {}, sequence), 1)
      << "behind known blocks, though its own first ones are gone";
  EXPECT_EQ(hit(kPlain, text_of(100, 100)), 96);
  cache.check({{&sequence}});
}

TEST_F(PrefixCacheTest, CompressedRowsAreNoBlocks) {
  kv::Sequence sequence = sequence_of(kPressed, text_of(50, 100));
  EXPECT_EQ(cache.insert(kPressed, {}, halve(sequence)), 0);
  EXPECT_EQ(hit(kPressed, text_of(50, 100)), 0);
}

TEST_F(PrefixCacheTest, TheNextTurnStartsFromCompressedRows) {
  const Tokens tokens = text_of(120, 100);
  for (const int n : {70, 40, 96}) {
    kv::Sequence sequence = sequence_of(kPressed, first_of(tokens, n));
    EXPECT_TRUE(cache.insert_compressed(kPressed, {}, halve(sequence)));
    EXPECT_FALSE(cache.insert_compressed(kPressed, {}, sequence)) << "known";
  }
  EXPECT_EQ(hit(kPressed, tokens), 96);
  EXPECT_EQ(hit(kPressed, first_of(tokens, 97)), 96);
  EXPECT_EQ(hit(kPressed, first_of(tokens, 96)), 70);
  EXPECT_EQ(hit(kPressed, first_of(tokens, 70)), 40);
  EXPECT_EQ(hit(kPressed, first_of(tokens, 40)), 0);
  EXPECT_EQ(hit(kPlain, tokens), 0);
  EXPECT_EQ(hit({"a", "keep{ratio=0.4}"}, tokens), 0);
  EXPECT_EQ(hit({"b", kPressed.press}, tokens), 0);

  kv::Sequence turn = cache.lookup(kPressed, {tokens, {}});
  EXPECT_EQ(turn.rows_compressed(1, 1), 48);
  EXPECT_EQ(turn.owner(), kv::PageOwner::sequence);
  ASSERT_TRUE(append_rest(turn, kPressed, tokens));
  halve(turn);
  expect_rows_of(turn, kPressed, tokens);
  EXPECT_EQ(hit(kPressed, tokens), 96) << "what the turn did is its own";
  EXPECT_EQ(cache.statistics().compressed_sequences, 3U);
  cache.check({{&turn}});
}

TEST_F(PrefixCacheTest, OfBlocksAndCompressedRowsTheLongerWins) {
  const Tokens tokens = text_of(60, 100);
  remember(kPressed, first_of(tokens, 35));
  const auto compressed_rows = [&] { return cache.lookup(kPressed, {tokens, {}}).rows_compressed(0, 0); };
  for (const int n : {30, 32, 40}) {
    kv::Sequence sequence = sequence_of(kPressed, first_of(tokens, n));
    cache.insert_compressed(kPressed, {}, halve(sequence));
    EXPECT_EQ(compressed_rows(), n < 32 ? 0 : n / 2);
    EXPECT_EQ(hit(kPressed, tokens), std::max(n, 32));
  }
}

TEST_F(PrefixCacheTest, ASequenceWithoutRowsIsNotKept) {
  kv::Sequence sequence{pool, kShape};
  EXPECT_FALSE(cache.insert_compressed(kPressed, {}, sequence));
  EXPECT_EQ(cache.insert(kPlain, {}, sequence), 0);
  ASSERT_TRUE(append_rest(sequence, kPressed, text_of(20, 1)));
  for (int pair = 0; pair < 4; ++pair) ASSERT_TRUE(sequence.keep_rows(pair / 2, pair % 2, {}));
  EXPECT_FALSE(cache.insert_compressed(kPressed, {}, sequence));
  cache.check({{&sequence}});
}

TEST_F(PrefixCacheTest, LookupsAreCounted) {
  const Tokens tokens = text_of(50, 100);
  hit(kPlain, tokens);
  remember(kPlain, tokens);
  EXPECT_EQ(cache.cached_tokens(kPlain, {tokens, {}}), 48);
  hit(kPlain, tokens);
  const PrefixCacheStatistics statistics = cache.statistics();
  EXPECT_EQ(statistics.lookups, 2);
  EXPECT_EQ(statistics.tokens_looked_up, 100);
  EXPECT_EQ(statistics.tokens_hit, 48);
}

}  // namespace
}  // namespace fastcache::engine
