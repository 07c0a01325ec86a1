// SPDX-License-Identifier: Apache-2.0
// Times the product's own matmul: `fastcache bench --kernels`.
#pragma once

#include <cstddef>

#include "linear/linear.h"

namespace fastcache {
class ComputePool;
}

namespace fastcache::linear {

struct LinearCase {
  int ggml_type = 0;
  int n_out = 0, n_in = 0, n_rows = 0;
  Epilogue epilogue = Epilogue::store;  // a gate: n_out counts gate and up together
  bool cold = true;                     // weights come from memory, as in a model larger than the caches
};

struct LinearTiming {
  double seconds = 0;       // of one matmul, wall time, median over the repetitions
  double best_seconds = 0;  // the least disturbed repetition
  double cpu_seconds =
      0;  // processor time of the busiest thread, least of the repetitions: on a shared machine
  double operations = 0;        // multiplications and additions: 2 n_out n_in n_rows
  double bytes = 0;             // packed weights read once
  double quantise_seconds = 0;  // filling the input from f32, on one thread, best
};

// Random weights and inputs. Throws Error (unsupported) as pack() does.
LinearTiming measure_matmul(const LinearCase& shape, ComputePool& pool);

}  // namespace fastcache::linear
