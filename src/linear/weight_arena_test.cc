// SPDX-License-Identifier: Apache-2.0
#include "linear/weight_arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace fastcache::linear {
namespace {

bool all_bytes_are(const std::shared_ptr<std::byte>& memory, size_t bytes, std::byte value) {
  return std::all_of(memory.get(), memory.get() + bytes, [&](std::byte b) { return b == value; });
}

TEST(WeightArena, PiecesAreZeroAlignedAndApart) {
  WeightArena arena;
  const size_t above_a_chunk = 40u << 20;
  const std::vector<size_t> sizes{1, 64, 65, 4096, 100'000, above_a_chunk, 63, 3u << 20};
  std::vector<std::shared_ptr<std::byte>> pieces;
  for (size_t i = 0; i < sizes.size(); ++i) {
    pieces.push_back(arena.allocate(sizes[i]));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces[i].get()) % 64, 0u);
    EXPECT_TRUE(all_bytes_are(pieces[i], sizes[i], std::byte{0})) << "piece " << i;
    std::memset(pieces[i].get(), static_cast<int>(i + 1), sizes[i]);
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(all_bytes_are(pieces[i], sizes[i], std::byte(i + 1))) << "piece " << i;
  }
}

TEST(WeightArena, SmallPiecesShareAHugePage) {
  WeightArena arena;
  const auto first = arena.allocate(1000);
  const auto second = arena.allocate(1000);
  EXPECT_EQ(second.get() - first.get(), 1024);
}

TEST(WeightArena, PiecesOutliveTheArena) {
  std::shared_ptr<std::byte> piece;
  {
    WeightArena arena;
    piece = arena.allocate(5000);
  }
  std::memset(piece.get(), 7, 5000);
  EXPECT_TRUE(all_bytes_are(piece, 5000, std::byte{7}));
}

TEST(WeightArena, AnyThreadMayAllocate) {
  WeightArena arena;
  std::vector<std::thread> threads;
  for (int t = 1; t <= 4; ++t) {
    threads.emplace_back([&arena, t] {
      std::vector<std::shared_ptr<std::byte>> mine;
      for (int i = 0; i < 200; ++i) std::memset(mine.emplace_back(arena.allocate(777)).get(), t, 777);
      for (const auto& piece : mine) EXPECT_TRUE(all_bytes_are(piece, 777, std::byte(t)));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace fastcache::linear
