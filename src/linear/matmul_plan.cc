// SPDX-License-Identifier: Apache-2.0
#include "linear/matmul_plan.h"

#include <algorithm>

#include "linear/format.h"

namespace fastcache::linear {
namespace {

constexpr int kRowBlockBytes = 384 << 10;  // activations of a block stay in L2 beside a strip of weights
constexpr int kTasksPerThread = 8;         // so that a thread that was held up costs at most 1/8 of its share
constexpr long long kMinTaskBytes = 12 << 10;  // weights: about 0.4 us of one core's memory bandwidth
constexpr long long kMinTaskMacs = 300'000;    // about 2 us of one core's arithmetic

}  // namespace

MatmulPlan plan_matmul(const MatmulShape& shape) {
  MatmulPlan plan;
  const int n_tiles = ceil_div(shape.n_rows, kTileRows);
  plan.n_row_blocks = ceil_div(n_tiles, std::max(1, kRowBlockBytes / shape.tile_bytes));
  plan.tiles_per_block = ceil_div(n_tiles, plan.n_row_blocks);
  plan.n_row_blocks = ceil_div(n_tiles, plan.tiles_per_block);

  const long long unit_bytes = static_cast<long long>(shape.strip_bytes) * shape.strips_per_unit;
  const long long unit_macs =
      static_cast<long long>(std::min(shape.n_rows, plan.tiles_per_block * kTileRows)) * shape.n_in *
      kStripColumns * shape.strips_per_unit;
  // A task is worth taking when it has enough of either.
  const long long enough =
      std::min((kMinTaskBytes + unit_bytes - 1) / unit_bytes, (kMinTaskMacs + unit_macs - 1) / unit_macs);
  const int wanted_groups = std::max(1, ceil_div(shape.n_threads * kTasksPerThread, plan.n_row_blocks));
  plan.units_per_group = std::max(static_cast<int>(enough), ceil_div(shape.n_units, wanted_groups));
  plan.units_per_group = std::min(plan.units_per_group, shape.n_units);
  plan.n_groups = ceil_div(shape.n_units, plan.units_per_group);
  return plan;
}

}  // namespace fastcache::linear
