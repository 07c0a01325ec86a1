// SPDX-License-Identifier: Apache-2.0
// Bad hashes: a name that fits the wrong tokens, parent or picture is a miss.
#include <gtest/gtest.h>

#include "engine/prefix_cache.h"
#include "engine/prefix_test_prompts.h"

namespace fastcache::engine {
namespace {

constexpr kv::CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::bf16};
const PrefixNamespace kPlain{"a", ""};
const PrefixNamespace kPressed{"a", "keep{ratio=0.5}"};

Hash128 always_the_same(std::span<const std::byte>) { return {1, 2}; }
Hash128 two_bits(std::span<const std::byte> bytes) { return {hash64(bytes) & 3U, 0}; }

TEST(PrefixCacheCollisions, AreMisses) {
  for (const PrefixHash hash : {always_the_same, two_bits}) {
    kv::PagePool pool{kv::test_pool(400)};
    PrefixCache cache{pool, kShape, hash};
    for (int story = 0; story < 8; ++story) {
      for (const PrefixNamespace& name : {kPlain, kPressed}) {
        kv::Sequence sequence{pool, kShape};
        ASSERT_TRUE(append_rest(sequence, name, text_of(40, story * 100)));
        cache.insert(name, {}, sequence);
        if (!name.press.empty()) cache.insert_compressed(name, {}, halve(sequence));
      }
    }
    int n_hits = 0;
    for (int story = 0; story < 8; ++story) {
      for (const PrefixNamespace& name : {kPlain, kPressed, PrefixNamespace{"b", ""}}) {
        const Tokens tokens = text_of(50, story * 100);
        const kv::Sequence found = cache.lookup(name, {tokens, {}});
        expect_rows_of(found, name, tokens);
        n_hits += found.token_count() > 0 ? 1 : 0;
        cache.check({{&found}});
      }
    }
    EXPECT_GE(n_hits, 2);  // those that came first
    EXPECT_LT(n_hits, 16);
  }
}

// The block's tokens alone: what stands in front of them is not in the name.
Hash128 without_parent(std::span<const std::byte> bytes) {
  return hash128(bytes.size() > 16 ? bytes.subspan(16) : bytes);
}

TEST(PrefixCacheCollisions, ABlockBehindAnotherParentIsAMiss) {
  kv::PagePool pool{kv::test_pool(100)};
  PrefixCache cache{pool, kShape, without_parent};
  const Tokens one = text_of(40, 0);
  Tokens two = one;
  two[3].id = 99;
  for (const Tokens& tokens : {one, two}) {
    kv::Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_rest(sequence, kPlain, tokens));
    cache.insert(kPlain, {}, sequence);
  }
  EXPECT_EQ(cache.cached_tokens(kPlain, {one, {}}), 32);
  EXPECT_EQ(cache.cached_tokens(kPlain, {two, {}}), 16);
  cache.check({});
}

TEST(PrefixCacheCollisions, AnotherPictureIsAMiss) {
  kv::PagePool pool{kv::test_pool(100)};
  PrefixCache cache{pool, kShape, always_the_same};
  const Digests known{{1, 1}}, other{{1, 2}};
  Tokens tokens = text_of(20, 0);
  tokens[2].image = 0;
  kv::Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_rest(sequence, kPressed, tokens, known));
  cache.insert(kPressed, known, sequence);
  ASSERT_TRUE(cache.insert_compressed(kPressed, known, halve(sequence)));
  tokens.resize(30, kv::text_token(1, 40));
  for (const size_t n : {size_t{18}, tokens.size()}) {
    const std::span<const kv::Token> prompt = std::span{tokens}.first(n);
    EXPECT_EQ(cache.cached_tokens(kPressed, {prompt, known}), n == 18 ? 16 : 20);
    EXPECT_EQ(cache.cached_tokens(kPressed, {prompt, other}), 0);
  }
}

}  // namespace
}  // namespace fastcache::engine
