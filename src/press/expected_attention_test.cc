// SPDX-License-Identifier: Apache-2.0
// expected_attention beside its formula in plain loops, with the average rotation summed up position by
// position.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_seed.h"
#include "press/query_test_data.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::PagePool;
using kv::Sequence;
using Doubles = std::vector<double>;

constexpr int d = kv::kTestHeadDim, kGroup = 3, kFuture = 60, kSink = 4;

// [d, d]: the mean rotation of the positions [first, first + kFuture).
Doubles mean_rotation(const attention::RopeTable& rope, int first) {
  Doubles rotation(d * d);
  for (int position = first; position < first + kFuture; ++position) {
    std::vector<float> cos_sin(d);
    attention::rope_angles(rope, position, cos_sin.data());
    for (int j = 0; j < d; ++j) {
      std::vector<float> unit(d);
      unit[j] = 1.0f;
      attention::rope_rotate(rope, cos_sin.data(), unit.data());
      for (int i = 0; i < d; ++i) rotation[i * d + j] += static_cast<double>(unit[i]) / kFuture;
    }
  }
  return rotation;
}

// [n - kSink]: softmax over the rows behind the sinks for one query head. q: [n, d], before RoPE.
Doubles expected_weights(const LayerInput& input, int head, const float* q, int n, const Doubles& rotation) {
  Doubles mu(d), weights(n - kSink);
  std::vector<float> k(d);
  for (int t = kSink; t < n; ++t)
    for (int i = 0; i < d; ++i) mu[i] += static_cast<double>(q[t * d + i]) / (n - kSink);
  for (int row = kSink; row < n; ++row) {
    input.read_keys(head, row, 1, k.data());
    Doubles back(d);  // k R
    for (int i = 0; i < d; ++i)
      for (int j = 0; j < d; ++j) back[j] += k[i] * rotation[i * d + j];
    double& exponent = weights[row - kSink];
    for (int j = 0; j < d; ++j) exponent += back[j] * mu[j] / std::sqrt(d);
    for (int t = kSink; t < n; ++t) {
      double dot = 0;
      for (int j = 0; j < d; ++j) dot += back[j] * (q[t * d + j] - mu[j]);
      exponent += dot * dot / (n - kSink) / d / 2;
    }
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& w : weights) sum += w = std::exp(w - largest);
  for (double& w : weights) w /= sum;
  return weights;
}

void expect_formula(const LayerInput& input, const RandomTurn& turn, int n) {
  const PressParams params{.name = "expected_attention", .ratio = 0.5, .numbers = {{"n_future", kFuture}}};
  const LayerScores scores = make_press(params)->score(input);
  const Doubles rotation = mean_rotation(*input.record()->attention.rope, n);
  double highest = 0;
  for (int head = 0; head < 2; ++head) {
    Doubles mean(n - kSink);
    for (int g = 0; g < kGroup; ++g) {
      const float* q = turn.queries_of((input.layer() * 2 + head) * kGroup + g, n);
      const Doubles weights = expected_weights(input, head, q, n, rotation);
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += weights[i] / kGroup;
    }
    for (int row = kSink; row < n; ++row) {
      std::vector<float> v(d);
      input.read_values(head, row, 1, v.data());
      double squares = 0;
      for (const float x : v) squares += static_cast<double>(x) * x;
      const double right = (mean[row - kSink] + 0.01) * std::sqrt(squares);
      highest = std::max(highest, right);
      ASSERT_NEAR(scores[head][row], right, 1e-3 * right) << "row " << row;
    }
  }
  for (const auto& head : scores)
    for (int row = 0; row < kSink; ++row) EXPECT_NEAR(head[row], highest, 1e-3 * highest);
}

TEST(ExpectedAttention, ScoresAreTheFormulaS) {
  for (const auto style : {attention::RopeStyle::halves, attention::RopeStyle::adjacent})
    for (const int rope_dims : {d, d / 2})
      for (const int n : {5, 6, 64, 200}) {
        SCOPED_TRACE(testing::Message() << n << " tokens, seed " << test_seed());
        PagePool pool{kv::test_pool(500, 0, {kv::KvType::f32})};
        Sequence sequence{pool, {.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::f32}};
        RandomTurn turn(sequence, test_seed(), n, 1, {.group = kGroup});
        const attention::RopeTable rope = attention::make_rope_table(style, rope_dims, 100.0);
        turn.record.attention.rope = &rope;
        for (int layer = 0; layer < 2; ++layer)
          expect_formula({pool, sequence, layer, false, &turn.record}, turn, n);
      }
}

TEST(ExpectedAttention, APromptOfSinksAlone) {
  for (const int n : {1, 3, 4}) {
    PagePool pool{kv::test_pool(50, 0, {kv::KvType::f32})};
    Sequence sequence{pool, {.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::f32}};
    const RandomTurn turn(sequence, test_seed(), n, 1);
    ComputePool threads{1};
    const auto press = make_press({.name = "expected_attention", .budget = 2});
    compress({press.get(), {.rows = 2}, &pool, &sequence, false, &turn.record}, threads);
    EXPECT_EQ(tokens_held(sequence), Tokens(4, first_tokens(std::min(n, 2))));
  }
}

}  // namespace
}  // namespace fastcache::press
