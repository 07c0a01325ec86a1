// SPDX-License-Identifier: Apache-2.0
#include "linear/matmul_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "base/test_seed.h"
#include "linear/format.h"

namespace fastcache::linear {
namespace {

MatmulShape shape_of(int n_rows, int n_in, int n_out, int n_threads) {
  MatmulShape shape;
  shape.n_rows = n_rows;
  shape.n_in = n_in;
  shape.n_units = ceil_div(n_out, kStripColumns);
  shape.strip_bytes = n_in * 10;  // 5 bits per weight
  shape.tile_bytes = n_in / kBlockChannels * 480;
  shape.n_threads = n_threads;
  return shape;
}

TEST(MatmulPlan, EveryTileMeetsEveryUnitOnce) {
  std::mt19937_64 random(test_seed());
  const auto uniform = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 500; ++round) {
    const MatmulShape shape =
        shape_of(uniform(1, 2000), 32 * uniform(1, 200), uniform(1, 3000), uniform(1, 64));
    const MatmulPlan plan = plan_matmul(shape);
    const int n_tiles = ceil_div(shape.n_rows, kTileRows);
    std::vector<int> met(static_cast<size_t>(n_tiles) * shape.n_units);
    for (int i = 0; i < plan.n_tasks(); ++i) {
      const int tile = i / plan.n_groups * plan.tiles_per_block,
                unit = i % plan.n_groups * plan.units_per_group;
      for (int t = tile; t < std::min(n_tiles, tile + plan.tiles_per_block); ++t) {
        for (int u = unit; u < std::min(shape.n_units, unit + plan.units_per_group); ++u) {
          ++met[static_cast<size_t>(t) * shape.n_units + u];
        }
      }
    }
    ASSERT_TRUE(std::all_of(met.begin(), met.end(), [](int n) { return n == 1; })) << "round " << round;
  }
}

TEST(MatmulPlan, LargeWorkIsSharedFinely) {
  for (int n_rows : {1, 8, 32, 128, 512}) {
    const MatmulPlan plan = plan_matmul(shape_of(n_rows, 1536, 576, 2));
    EXPECT_GE(plan.n_tasks(), 8) << n_rows;
    EXPECT_LE(plan.tiles_per_block * 1536 / kBlockChannels * 480, 512 << 10) << n_rows;
  }
}

TEST(MatmulPlan, SmallWorkIsOneTask) { EXPECT_EQ(plan_matmul(shape_of(1, 32, 64, 8)).n_tasks(), 1); }

}  // namespace
}  // namespace fastcache::linear
