// SPDX-License-Identifier: Apache-2.0
#include "press/tune_bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/layer_input.h"
#include "press/query_test_data.h"

namespace fastcache::press {
namespace {

double sum_of(const std::vector<BitErrors>& errors, const std::vector<int>& bits) {
  double sum = 0;
  for (size_t layer = 0; layer < bits.size(); ++layer)
    sum += errors[layer][bits[layer] == 2 ? 0 : bits[layer] == 4 ? 1 : 2];
  return sum;
}

TEST(TuneBits, NoOtherChoiceWithinTheAverageIsBetter) {
  std::mt19937_64 random{test_seed()};
  std::uniform_real_distribution<double> uniform;
  for (int round = 0; round < 200; ++round) {
    const int n = 1 + static_cast<int>(random() % 6);
    std::vector<BitErrors> errors(n);
    for (BitErrors& e : errors)
      for (double& x : e) x = uniform(random);  // not even falling
    const double average = 2 + 6 * uniform(random);
    const std::vector<int> chosen = choose_layer_bits(errors, average);
    double best = 1e300;
    int n_choices = 1;
    for (int i = 0; i < n; ++i) n_choices *= 3;
    for (int code = 0; code < n_choices; ++code) {
      std::vector<int> bits;
      int total = 0;
      for (int i = 0, rest = code; i < n; ++i, rest /= 3) bits.push_back(kTunedBits[rest % 3]);
      for (const int b : bits) total += b;
      if (total <= average * n) best = std::min(best, sum_of(errors, bits));
    }
    int total = 0;
    for (const int b : chosen) total += b;
    EXPECT_LE(total, average * n + 1e-6);
    EXPECT_NEAR(sum_of(errors, chosen), best, 1e-12);
  }
}

// [query heads of the layer][head_dim], all last queries one after the other.
std::vector<std::vector<double>> outputs(const kv::PagePool& pool, const kv::Sequence& sequence, int layer,
                                         const model::QueryRecord& record) {
  const LayerInput input{pool, sequence, layer, false, &record};
  const attention::AttentionShape& shape = record.attention;
  std::vector<std::vector<double>> all;
  for (int i = 0; i < record.last.n_tokens(); ++i)
    for (int h = 0; h < shape.n_heads; ++h) {
      const int head = h / (shape.n_heads / shape.n_kv_heads);
      const auto weights = plain_attention(input, h, record.last.first_token() + i);
      std::vector<double>& out = all.emplace_back(shape.head_dim);
      std::vector<float> v(shape.head_dim);
      for (int row = 0; row < input.n_held(head); ++row) {
        input.read_values(head, row, 1, v.data());
        for (int d = 0; d < shape.head_dim; ++d) out[d] += weights[row] * v[d];
      }
    }
  return all;
}

TEST(TuneBits, ErrorsAreThoseOfAttentionOverQuantisedPages) {
  for (const int window : {0, 70}) {
    constexpr int kRows = 170, kResidual = 42;  // 128 rows: whole pages of bf16
    kv::PagePool pool{kv::test_pool(300)};
    kv::Sequence sequence{pool, {.n_layers = 2, .n_kv_heads = 2, .type = kv::KvType::bf16}};
    const RandomTurn turn(sequence, test_seed(), kRows, 5, {.window = window});
    ComputePool threads{2};
    const auto measured = measure_bit_errors(pool, sequence, turn.record, kResidual, threads);
    std::vector<int32_t> rows(kRows);
    for (int r = 0; r < kRows; ++r) rows[r] = r;
    for (int layer = 0; layer < 2; ++layer) {
      const auto truth = outputs(pool, sequence, layer, turn.record);
      const kv::KvType types[] = {kv::KvType::q2, kv::KvType::q4, kv::KvType::q8};
      for (int b = 0; b < 3; ++b) {
        kv::Sequence fork = sequence.fork();
        for (int head = 0; head < 2; ++head)
          ASSERT_TRUE(fork.quantize_rows(layer, head, rows, kRows - kResidual, types[b]));
        const auto out = outputs(pool, fork, layer, turn.record);
        double sum = 0;
        for (size_t i = 0; i < out.size(); ++i) {
          double error = 0, length = 0;
          for (size_t d = 0; d < out[i].size(); ++d) {
            error += (out[i][d] - truth[i][d]) * (out[i][d] - truth[i][d]);
            length += truth[i][d] * truth[i][d];
          }
          sum += error / length;
        }
        EXPECT_NEAR(measured[layer][b], sum / static_cast<double>(out.size()), 1e-4 * measured[layer][b]);
      }
      EXPECT_GT(measured[layer][0], 4 * measured[layer][1]);
      EXPECT_GT(measured[layer][1], 4 * measured[layer][2]);
    }
  }
}

TEST(TuneBits, ErrorsThatAreNotFiniteAreRefused) {
  for (const double wrong : {std::nan(""), HUGE_VAL}) {
    std::vector<BitErrors> errors(3, {0.3, 0.2, 0.1});
    errors[1] = {wrong, wrong, wrong};
    EXPECT_THROW(choose_layer_bits(errors, 4), Error);
  }
}

TEST(TuneBits, AnAverageOutsideIsRefused) {
  const std::vector<BitErrors> errors(3);
  for (const double average : {1.9, 8.1, std::nan(""), -1.0})
    EXPECT_THROW(choose_layer_bits(errors, average), Error) << average;
  EXPECT_EQ(choose_layer_bits(errors, 8), (std::vector<int>{2, 2, 2})) << "bits that help nobody";
}

}  // namespace
}  // namespace fastcache::press
