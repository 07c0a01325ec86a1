// SPDX-License-Identifier: Apache-2.0
// How far value rows move a layer's output: the L1 norm of W_O v, the mean over the query heads that read the
// row. Exact norms cost about as much as the layer's own output projection, so there is a bound beside them
// that tells for which rows they matter.
#pragma once

#include <span>
#include <vector>

#include "press/layer_input.h"

namespace fastcache::press {

// Of one KV head. Holds its candidates' values and its part of W_O in f32. One thread; the layer's
// output_weights() must be there.
class OutputNorm {
 public:
  OutputNorm(const LayerInput& layer, int head);

  // out: [rows], of these candidates. Each stands alone: one that is not finite is no other's matter.
  void norms(std::span<const int32_t> rows, float* out) const;

  // [candidates]: never below norms() where that is finite, for random values about a quarter above it.
  std::vector<float> bounds() const;

 private:
  void load_columns(std::span<const int32_t> rows, float* columns) const;

  int n_rows_ = 0, head_dim_ = 0;
  int group_ = 0;               // query heads of the KV head
  int n_out_ = 0;               // outputs, rounded up to whole blocks; the rest of W_O is 0
  std::vector<float> values_;   // [n_rows, head_dim]
  std::vector<float> weights_;  // [group, n_out, head_dim]
};

}  // namespace fastcache::press
