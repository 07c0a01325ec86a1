// SPDX-License-Identifier: Apache-2.0
#include "engine/image_cache.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "base/test_seed.h"

namespace fastcache::engine {
namespace {

Hash128 digest(uint64_t i) { return {.low = i % 3, .high = i}; }  // many in one bucket

ImageCache::Embeddings embeddings(size_t n) { return std::make_shared<const std::vector<float>>(n, 1.0f); }

TEST(ImageCache, TheLongestUnusedGoesFirst) {
  ImageCache cache(3 * sizeof(float));
  for (uint64_t i = 0; i < 3; ++i) cache.insert(digest(i), embeddings(1));
  EXPECT_NE(cache.find(digest(0)), nullptr);
  cache.insert(digest(3), embeddings(1));
  EXPECT_EQ(cache.find(digest(1)), nullptr);
  EXPECT_NE(cache.find(digest(0)), nullptr);
  cache.insert(digest(4), embeddings(4));  // larger than all of it
  EXPECT_EQ(cache.find(digest(4)), nullptr);
  EXPECT_EQ(cache.bytes(), 3 * sizeof(float));
}

TEST(ImageCache, AgreesWithAPlainList) {
  std::mt19937_64 random(test_seed());
  ImageCache cache(100 * sizeof(float));
  std::deque<std::pair<uint64_t, size_t>> model;  // most recently used first
  for (int round = 0; round < 5000; ++round) {
    const uint64_t key = random() % 20;
    const auto at = std::find_if(model.begin(), model.end(), [&](const auto& e) { return e.first == key; });
    const bool known = at != model.end();
    ASSERT_EQ(cache.find(digest(key)) != nullptr, known);
    const size_t n = known ? at->second : 1 + random() % 40;
    if (known) model.erase(at);
    model.emplace_front(key, n);
    cache.insert(digest(key), embeddings(n));
    size_t sum = 0;
    for (const auto& entry : model) sum += entry.second;
    for (; sum > 100; model.pop_back()) sum -= model.back().second;
    ASSERT_EQ(cache.bytes(), sum * sizeof(float));
  }
}

}  // namespace
}  // namespace fastcache::engine
