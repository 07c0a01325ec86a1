// SPDX-License-Identifier: Apache-2.0
// The lanes of the vectors are value rows: each has its sums to itself, over the outputs in order, so all
// CPUs give the same bits and no row's depend on the rows beside it.
#include "press/output_norm.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

#include "base/simd.h"
#include "press/query_math.h"
#include "press/row_math.h"

namespace fastcache::press {
namespace {

constexpr int kOutputs = 16;  // of a block of products, which stays in the first cache
static_assert(kOutputs % kBlockRows == 0);

// out: [n, kColumns] = x [n, head_dim] * columns [head_dim, kColumns].
void products(const float* x, int n, int head_dim, const float* columns, float* out) {
  for (int half = 0; half < kColumns; half += kHalfColumns)
    row_products(x, n, head_dim, head_dim, columns + half, out + half);
}

// sums: [kColumns] += |x| of each row of x [n, kColumns].
FC_CLONES void add_magnitudes(const float* x, int n, float* sums) {
  for (int row = 0; row < n; ++row)
    for (int i = 0; i < kColumns; ++i) sums[i] += std::abs(x[row * kColumns + i]);
}

// sums: [kColumns] += x * y, of each row of x and y [n, kColumns].
FC_CLONES void add_products(const float* x, const float* y, int n, float* sums) {
  for (int row = 0; row < n; ++row)
    for (int i = 0; i < kColumns; ++i) sums[i] += x[row * kColumns + i] * y[row * kColumns + i];
}

// squares: [head_dim, head_dim] += w w^T * factor, from the diagonal on, by whole vectors.
FC_CLONES void add_square(const float* w, int head_dim, float factor, float* squares) {
  for (int row = 0; row < head_dim; ++row) {
    const float x = w[row] * factor;
    for (int begin = row / kLanes * kLanes; begin < head_dim; begin += kLanes)
      for (int i = 0; i < kLanes; ++i) squares[row * head_dim + begin + i] += x * w[begin + i];
  }
}

}  // namespace

OutputNorm::OutputNorm(const LayerInput& layer, int head)
    : n_rows_(layer.n_rows(head)), head_dim_(layer.head_dim()) {
  assert(layer.output_weights() != nullptr && "needs() asks for them");
  const linear::PackedMatrix& output = *layer.output_weights();
  group_ = output.n_in() / head_dim_ / layer.n_kv_heads();
  n_out_ = (output.n_out() + kOutputs - 1) / kOutputs * kOutputs;
  values_.resize(static_cast<size_t>(n_rows_) * head_dim_);
  layer.read_values(head, 0, n_rows_, values_.data());
  weights_.resize(static_cast<size_t>(group_) * n_out_ * head_dim_);
  for (int q = 0; q < group_; ++q)
    for (int i = 0; i < output.n_out(); ++i)
      linear::get_row_part(output, i, (head * group_ + q) * head_dim_, head_dim_,
                           &weights_[(static_cast<size_t>(q) * n_out_ + i) * head_dim_]);
}

// columns: [head_dim, kColumns], of at most kColumns rows; lanes without a row are 0.
void OutputNorm::load_columns(std::span<const int32_t> rows, float* columns) const {
  std::fill_n(columns, static_cast<size_t>(head_dim_) * kColumns, 0.0f);
  for (size_t lane = 0; lane < rows.size(); ++lane) {
    const float* v = &values_[static_cast<size_t>(rows[lane]) * head_dim_];
    for (int d = 0; d < head_dim_; ++d) columns[d * kColumns + lane] = v[d];
  }
}

void OutputNorm::norms(std::span<const int32_t> rows, float* out) const {
  std::vector<float> columns(static_cast<size_t>(head_dim_) * kColumns);
  float block[kOutputs * kColumns];
  for (size_t begin = 0; begin < rows.size(); begin += kColumns) {
    const std::span<const int32_t> tile =
        rows.subspan(begin, std::min<size_t>(kColumns, rows.size() - begin));
    load_columns(tile, columns.data());
    float sums[kColumns] = {};
    for (size_t i = 0; i < static_cast<size_t>(group_) * n_out_; i += kOutputs) {
      products(&weights_[i * head_dim_], kOutputs, head_dim_, columns.data(), block);
      add_magnitudes(block, kOutputs, sums);
    }
    for (size_t lane = 0; lane < tile.size(); ++lane)
      out[begin + lane] = sums[lane] / static_cast<float>(group_);
  }
}

// By Cauchy and Schwarz, with a_i = norm2(w_i) to even the outputs out: the sum of |w_i v| is at most
// sqrt(sum of a_i) * sqrt(sum of (w_i v)^2 / a_i), and the second sum is v^T M v.
std::vector<float> OutputNorm::bounds() const {
  constexpr double kSlack = 1e-4;  // of M's trace, and of the result: more than rounding takes away
  std::vector<float> squares(static_cast<size_t>(head_dim_) * head_dim_);
  const int n_weights = group_ * n_out_;
  std::vector<float> lengths_squared(n_weights);
  squared_norms(weights_.data(), n_weights, head_dim_, lengths_squared.data());
  double lengths = 0;
  for (int i = 0; i < n_weights; ++i) {
    const double length = std::sqrt(lengths_squared[i]);
    if (length == 0) continue;
    lengths += length;
    add_square(&weights_[static_cast<size_t>(i) * head_dim_], head_dim_, static_cast<float>(1 / length),
               squares.data());
  }
  for (int row = 0; row < head_dim_; ++row) {
    float* const of_row = &squares[static_cast<size_t>(row) * head_dim_];
    for (int i = 0; i < row; ++i) of_row[i] = squares[static_cast<size_t>(i) * head_dim_ + row];
    of_row[row] += static_cast<float>(kSlack * lengths);
  }

  std::vector<float> result(n_rows_);
  std::vector<float> columns(static_cast<size_t>(head_dim_) * kColumns), images(columns.size());
  std::vector<int32_t> rows(kColumns);
  for (int begin = 0; begin < n_rows_; begin += kColumns) {
    rows.resize(std::min(kColumns, n_rows_ - begin));
    std::iota(rows.begin(), rows.end(), begin);
    load_columns(rows, columns.data());
    products(squares.data(), head_dim_, head_dim_, columns.data(), images.data());
    float sums[kColumns] = {};
    add_products(images.data(), columns.data(), head_dim_, sums);
    for (size_t lane = 0; lane < rows.size(); ++lane)
      result[begin + lane] =
          static_cast<float>(std::sqrt(lengths * static_cast<double>(sums[lane])) * (1 + kSlack) / group_);
  }
  return result;
}

}  // namespace fastcache::press
