// SPDX-License-Identifier: Apache-2.0
#include "engine/cost_model.h"

#include <algorithm>
#include <cmath>

namespace fastcache::engine {
namespace {

// Per step of the kind: the last hundred count; of those with compression, which are rare, the last twenty,
// or they would speak for a machine of long ago.
constexpr double kForget[] = {0.99, 0.99, 0.95};
constexpr double kLargeError = 0.5;  // relative; beyond it a step counts less the further off it is
constexpr double kInertia = 1e-6;    // pull towards the last answer, where steps do not tell terms apart
constexpr double kShortestStep_ms = 0.01;  // bounds the weight of one step

// Gauss-Jordan on the unknowns among the terms, the others being given. The matrix is positive definite.
template <size_t N>
std::array<double, N> solve_for(std::array<std::array<double, N>, N> matrix, std::array<double, N> right,
                                const std::array<bool, N>& unknown, std::array<double, N> value) {
  for (size_t i = 0; i < N; ++i)
    for (size_t j = 0; j < N; ++j)
      if (unknown[i] && !unknown[j]) right[i] -= matrix[i][j] * value[j];
  for (size_t pivot = 0; pivot < N; ++pivot) {
    if (!unknown[pivot]) continue;
    for (size_t i = 0; i < N; ++i) {
      if (i == pivot || !unknown[i]) continue;
      const double factor = matrix[i][pivot] / matrix[pivot][pivot];
      for (size_t j = 0; j < N; ++j) matrix[i][j] -= factor * matrix[pivot][j];
      right[i] -= factor * right[pivot];
    }
  }
  for (size_t i = 0; i < N; ++i)
    if (unknown[i]) value[i] = right[i] / matrix[i][i];
  return value;
}

}  // namespace

StepShape operator+(const StepShape& a, const StepShape& b) {
  return {a.prefill_tokens + b.prefill_tokens, a.decode_rows + b.decode_rows, a.kv_rows_read + b.kv_rows_read,
          a.compress_rows + b.compress_rows};
}

StepShape decode_shape(int kv_rows) { return {.decode_rows = 1, .kv_rows_read = kv_rows + 1.0}; }

StepShape prefill_shape(int n_tokens, int kv_rows) {
  const double n = n_tokens;
  return {.prefill_tokens = n, .kv_rows_read = n * kv_rows + n * (n + 1) / 2};
}

CostModel::CostModel(const StepCosts& prior)
    : cost_{prior.fixed, prior.per_prefill_token, prior.per_decode_row, prior.per_kv_row_read,
            prior.per_compress_row} {}

CostModel::Terms CostModel::terms(const StepShape& shape) {
  return {1, shape.prefill_tokens, shape.decode_rows, shape.kv_rows_read, shape.compress_rows};
}

double CostModel::predict_ms(const StepShape& shape) const {
  const Terms x = terms(shape);
  double sum = 0;
  for (int i = 0; i < kTerms; ++i) sum += x[i] * cost_[i];
  return sum;
}

StepCosts CostModel::costs() const { return {cost_[0], cost_[1], cost_[2], cost_[3], cost_[4]}; }

void CostModel::observe(const StepShape& shape, double duration_ms) {
  const bool empty = shape.prefill_tokens <= 0 && shape.decode_rows <= 0 && shape.compress_rows <= 0;
  if (empty || !std::isfinite(duration_ms) || duration_ms <= 0) return;
  const double error = std::abs(duration_ms - predict_ms(shape)) / duration_ms;
  const double trust = error <= kLargeError ? 1 : kLargeError / error;
  const double divisor = std::max(duration_ms, kShortestStep_ms);
  const double weight = trust / (divisor * divisor);

  const int k = shape.compress_rows > 0 ? 2 : shape.prefill_tokens > 0 ? 1 : 0;
  Statistics& kind = kinds_[k];
  const Terms x = terms(shape);
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j)
      kind.squares[i][j] = kForget[k] * kind.squares[i][j] + weight * x[i] * x[j];
    kind.targets[i] = kForget[k] * kind.targets[i] + weight * x[i] * duration_ms;
  }
  solve();
}

// Least squares; a cost that comes out negative is set to 0 and the others are solved again. What the steps
// do not tell apart (a decode batch that never changes its size) stays near the last answer.
void CostModel::solve() {
  Statistics sum;
  for (const Statistics& kind : kinds_)
    for (int i = 0; i < kTerms; ++i) {
      for (int j = 0; j < kTerms; ++j) sum.squares[i][j] += kind.squares[i][j];
      sum.targets[i] += kind.targets[i];
    }
  std::array<bool, kTerms> solved{};
  for (int i = 0; i < kTerms; ++i) {
    solved[i] = sum.squares[i][i] > 1e-30;  // else never seen: stays as it is
    sum.targets[i] += kInertia * sum.squares[i][i] * cost_[i];
    sum.squares[i][i] *= 1 + kInertia;
  }
  for (int round = 0; round < kTerms; ++round) {
    const Terms answer = solve_for(sum.squares, sum.targets, solved, cost_);
    int most_negative = -1;
    for (int i = 0; i < kTerms; ++i)
      if (solved[i] && answer[i] < 0 && (most_negative < 0 || answer[i] < answer[most_negative]))
        most_negative = i;
    cost_ = answer;
    if (most_negative < 0) return;
    cost_[most_negative] = 0;
    solved[most_negative] = false;
  }
  for (double& cost : cost_) cost = std::max(0.0, cost);
}

}  // namespace fastcache::engine
