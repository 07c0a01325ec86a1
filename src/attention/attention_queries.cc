// SPDX-License-Identifier: Apache-2.0
#include "attention/attention_queries.h"

#include <algorithm>
#include <numbers>

namespace fastcache::attention {
namespace {

constexpr float kLog2e = std::numbers::log2e_v<float>;

// Rotation by -delta. q has YaRN's magnitude already.
void undo_angles(const RopeTable& rope, int32_t delta, float* cos_sin) {
  rope_angles(rope, -delta, cos_sin);
  for (int i = 0; i < rope.n_dims; ++i) cos_sin[i] /= rope.magnitude;
}

// Scores come out as powers of two; with a soft-cap, as the exponent that its tanh needs.
float query_scale(const AttentionShape& shape) {
  return shape.softcap > 0 ? shape.scale * 2 * kLog2e / shape.softcap : shape.scale * kLog2e;
}

}  // namespace

void PackedQueries::pack(const AttentionKernel& kernel, const TileRows& rows, kv::KvType type,
                         int32_t delta) {
  if (valid_ && type_ == type && delta_ == delta) return;
  valid_ = true;
  type_ = type;
  delta_ = delta;
  const AttentionShape& shape = rows.batch.shape;
  const float scale = query_scale(shape);
  alignas(64) float angles[kMaxHeadDim];
  if (delta != 0) undo_angles(*shape.rope, delta, angles);
  for (int first = 0; first < rows.unit.n_rows; first += kBlockRows) {
    const int n = std::min(kBlockRows, rows.unit.n_rows - first);
    for (int row = first; row < first + n; ++row) {
      if (row + kBlockRows < rows.unit.n_rows) prefetch_row(rows.q(row + kBlockRows), shape.head_dim);
      float* to = rows_ + (row - first) * shape.head_dim;
      std::copy_n(rows.q(row), shape.head_dim, to);
      if (delta != 0) rope_rotate(*shape.rope, angles, to);
      for (int c = 0; c < shape.head_dim; ++c) to[c] *= scale;
    }
    kernel.pack[static_cast<size_t>(type)](
        rows_, n, shape.head_dim, packed_ + static_cast<size_t>(first) * packed_bytes(shape.head_dim));
  }
}

}  // namespace fastcache::attention
