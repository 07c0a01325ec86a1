// SPDX-License-Identifier: Apache-2.0
#include "linear/low_rank.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/simd.h"
#include "linear/format.h"

namespace fastcache::linear {
namespace {

constexpr int kBlockRows = 4;  // rows that share one read of the factor
using Lanes [[gnu::vector_size(64)]] = float;
static_assert(sizeof(Lanes) == kStripColumns * sizeof(float));

// out[r] [16] = sum over i of x[r][i] * strip[i]; strip: [n][16].
FC_CLONES void strip_products(const float* const* x, int n, const float* strip, float* out) {
  Lanes sums[kBlockRows] = {};
  const float *x0 = x[0], *x1 = x[1], *x2 = x[2], *x3 = x[3];
  for (int i = 0; i < n; ++i) {
    Lanes factor;
    std::memcpy(&factor, strip + static_cast<size_t>(i) * kStripColumns, sizeof factor);
    sums[0] += x0[i] * factor;
    sums[1] += x1[i] * factor;
    sums[2] += x2[i] * factor;
    sums[3] += x3[i] * factor;
  }
  std::memcpy(out, sums, sizeof sums);
}

// [strips][n_channels][16] from element(channel, column); columns beyond n_columns are zero.
template <typename Element>
std::vector<float> in_strips(int n_columns, int n_channels, const Element& element) {
  const int n_strips = ceil_div(n_columns, kStripColumns);
  std::vector<float> strips(static_cast<size_t>(n_strips) * static_cast<size_t>(n_channels) * kStripColumns);
  for (int column = 0; column < n_columns; ++column) {
    const size_t strip = static_cast<size_t>(column / kStripColumns) * static_cast<size_t>(n_channels);
    for (int channel = 0; channel < n_channels; ++channel) {
      strips[(strip + static_cast<size_t>(channel)) * kStripColumns +
             static_cast<size_t>(column % kStripColumns)] = element(channel, column);
    }
  }
  return strips;
}

}  // namespace

LowRank::LowRank(int n_in, std::span<const LowRankSource> sources) : n_in_(n_in) {
  for (const LowRankSource& from : sources) {
    const auto a = [&](int channel, int row) {
      return from.a[static_cast<size_t>(row) * static_cast<size_t>(n_in) + static_cast<size_t>(channel)];
    };
    const auto scaled_b = [&](int channel, int row) {
      return from.scale *
             from.b[static_cast<size_t>(row) * static_cast<size_t>(from.rank) + static_cast<size_t>(channel)];
    };
    const std::vector<float> down = in_strips(from.rank, n_in, a);
    down_.insert(down_.end(), down.begin(), down.end());
    parts_.push_back({.first_column = from.first_column,
                      .n_out = from.n_out,
                      .rank = from.rank,
                      .first_hidden = hidden_width_,
                      .up = in_strips(from.n_out, from.rank, scaled_b)});
    hidden_width_ += ceil_div(from.rank, kStripColumns) * kStripColumns;
  }
}

size_t LowRank::bytes() const {
  size_t n = down_.size();
  for (const Part& part : parts_) n += part.up.size();
  return n * sizeof(float);
}

const LowRank::Part* LowRank::find(int first_column) const {
  for (const Part& part : parts_) {
    if (first_column >= part.first_column && first_column < part.first_column + part.n_out) return &part;
  }
  return nullptr;
}

void LowRank::reduce(std::span<const float* const> x, std::span<float* const> hidden) const noexcept {
  assert(x.size() == hidden.size());
  const size_t strip_size = static_cast<size_t>(n_in_) * kStripColumns;
  for (size_t first = 0; first < x.size(); first += kBlockRows) {
    const size_t n = std::min<size_t>(kBlockRows, x.size() - first);
    const float* rows[kBlockRows];  // one that is there stands in for those that are not
    for (size_t r = 0; r < kBlockRows; ++r) rows[r] = x[first + std::min(r, n - 1)];
    for (int to = 0; to < hidden_width_; to += kStripColumns) {
      alignas(64) float sums[kBlockRows * kStripColumns];
      strip_products(rows, n_in_, down_.data() + static_cast<size_t>(to / kStripColumns) * strip_size, sums);
      for (size_t r = 0; r < n; ++r)
        std::copy_n(sums + r * kStripColumns, kStripColumns, hidden[first + r] + to);
    }
  }
}

void LowRank::add_strip(int first_column, std::span<const float* const> hidden, float* out) const noexcept {
  const Part* part = find(first_column);
  if (part == nullptr) return;
  const int strip = (first_column - part->first_column) / kStripColumns;
  const float* up =
      part->up.data() + static_cast<size_t>(strip) * static_cast<size_t>(part->rank) * kStripColumns;
  for (size_t next = 0; next < hidden.size();) {
    const float* rows[kBlockRows];
    float* to[kBlockRows];
    int n = 0;
    for (; next < hidden.size() && n < kBlockRows; ++next) {
      if (hidden[next] == nullptr) continue;
      rows[n] = hidden[next] + part->first_hidden;
      to[n++] = out + next * kStripColumns;
    }
    if (n == 0) return;
    for (int r = n; r < kBlockRows; ++r) rows[r] = rows[0];
    alignas(64) float sums[kBlockRows * kStripColumns];
    strip_products(rows, part->rank, up, sums);
    for (int r = 0; r < n; ++r) {
      for (int c = 0; c < kStripColumns; ++c) to[r][c] += sums[r * kStripColumns + c];
    }
  }
}

}  // namespace fastcache::linear
