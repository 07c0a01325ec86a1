// SPDX-License-Identifier: Apache-2.0
// How a matmul is cut into tasks: (block of row tiles) x (group of column units). Depends on sizes alone, so
// that all threads compute the same cut; the cut never changes a result.
#pragma once

namespace fastcache::linear {

struct MatmulPlan {
  int tiles_per_block = 1, n_row_blocks = 1;
  int units_per_group = 1, n_groups = 1;
  int n_tasks() const { return n_row_blocks * n_groups; }
};

struct MatmulShape {
  int n_rows = 0;
  int n_in = 0;
  int n_units = 0;  // a unit: one strip, or two gate and two up strips
  int strips_per_unit = 1;
  int strip_bytes = 0;
  int tile_bytes = 0;  // what a kernel reads for one row tile
  int n_threads = 1;
};

MatmulPlan plan_matmul(const MatmulShape& shape);

}  // namespace fastcache::linear
