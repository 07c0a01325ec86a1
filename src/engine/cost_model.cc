// SPDX-License-Identifier: Apache-2.0
#include "engine/cost_model.h"

#include <algorithm>
#include <cmath>

namespace fastcache::engine {
namespace {

constexpr double kForget = 0.99;           // per step of the kind: the last hundred count
constexpr double kLargeError = 0.5;        // relative; beyond it a step counts less the further off it is
constexpr int kSweeps = 32;                // each lowers the error; the start is the last answer
constexpr double kShortestStep_ms = 0.01;  // bounds the weight of one step

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

  Statistics& kind = kinds_[shape.compress_rows > 0 ? 2 : shape.prefill_tokens > 0 ? 1 : 0];
  const Terms x = terms(shape);
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) kind.squares[i][j] = kForget * kind.squares[i][j] + weight * x[i] * x[j];
    kind.targets[i] = kForget * kind.targets[i] + weight * x[i] * duration_ms;
  }
  solve();
}

// Coordinate descent on the non-negative least squares. What the steps do not tell apart (a decode batch that
// never changes its size) stays where the last answer left it.
void CostModel::solve() {
  Statistics sum;
  for (const Statistics& kind : kinds_)
    for (int i = 0; i < kTerms; ++i) {
      for (int j = 0; j < kTerms; ++j) sum.squares[i][j] += kind.squares[i][j];
      sum.targets[i] += kind.targets[i];
    }
  for (int sweep = 0; sweep < kSweeps; ++sweep)
    for (int i = 0; i < kTerms; ++i) {
      if (sum.squares[i][i] < 1e-30) continue;  // never seen
      double rest = sum.targets[i];
      for (int j = 0; j < kTerms; ++j)
        if (j != i) rest -= sum.squares[i][j] * cost_[j];
      cost_[i] = std::max(0.0, rest / sum.squares[i][i]);
    }
}

}  // namespace fastcache::engine
