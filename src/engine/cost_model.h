// SPDX-License-Identifier: Apache-2.0
// Predicts how long a step takes from what is in it, and learns that from the steps it sees.
//
// duration = fixed + sum of (amount * cost). The costs minimise the squared RELATIVE error over recent steps
// and are never negative: a slow step (another process took the core) is a large duration and counts little.
// Steps with and without prefill are forgotten separately, so that an hour of decoding does not wipe out what
// prefill costs.
#pragma once

#include <array>

namespace fastcache::engine {

// Amounts of work in one step.
struct StepShape {
  double prefill_tokens = 0;
  double decode_rows = 0;
  double kv_rows_read = 0;   // (new row, KV row before it) pairs, per head: what attention walks
  double compress_rows = 0;  // per head, of the requests compressed in the step
};

StepShape operator+(const StepShape& a, const StepShape& b);
StepShape decode_shape(int kv_rows);                 // one row
StepShape prefill_shape(int n_tokens, int kv_rows);  // a chunk behind kv_rows

struct StepCosts {  // milliseconds
  double fixed = 1;
  double per_prefill_token = 0.5;
  double per_decode_row = 1;
  double per_kv_row_read = 1e-4;
  double per_compress_row = 0.01;
};

// Owner: one thread.
class CostModel {
 public:
  explicit CostModel(const StepCosts& prior = {});

  double predict_ms(const StepShape& shape) const;
  // Ignores durations that are not finite or not positive, and shapes without work.
  void observe(const StepShape& shape, double duration_ms);
  StepCosts costs() const;

 private:
  static constexpr int kTerms = 5;
  using Terms = std::array<double, kTerms>;

  struct Statistics {  // sums over the steps of one kind, weighted, older ones fading
    std::array<Terms, kTerms> squares{};
    Terms targets{};
  };

  static Terms terms(const StepShape& shape);
  void solve();

  Terms cost_;
  std::array<Statistics, 3> kinds_;  // pure decode | with prefill | with compression
};

}  // namespace fastcache::engine
