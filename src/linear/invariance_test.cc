// SPDX-License-Identifier: Apache-2.0
// The bits of an output row depend on its input row and the weights alone: not on the other rows, its place
// among them, the number of threads, or the instruction set.
#include "linear/linear_test_util.h"

namespace fastcache::linear {
namespace {

struct Case {
  Weights weights;
  PackedMatrix packed;
};

Case random_case(Random& random, ggml_type type) {
  const int step = std::max(32, static_cast<int>(ggml_blck_size(type)));
  const int n_in = step * uniform(random, 1, 768 / step), n_out = uniform(random, 1, 200);
  Weights weights = quantised_weights(random, type, n_out, n_in);
  const WeightSource source = weights.source();
  PackedMatrix packed = pack({&source, 1});
  return {std::move(weights), std::move(packed)};
}

// Inputs as models have them: mostly normal, some rows of zeros, tiny or huge numbers.
std::vector<float> random_inputs(Random& random, int n_rows, int n_in) {
  std::vector<float> x = normal_vector(random, static_cast<size_t>(n_rows) * n_in);
  for (int r = 0; r < n_rows; ++r) {
    const float factors[] = {1, 1, 1, 0, 1e-36F, 1e6F};
    const float factor = factors[uniform(random, 0, 5)];
    for (int k = 0; k < n_in; ++k) x[static_cast<size_t>(r) * n_in + k] *= factor;
  }
  return x;
}

TEST(Invariance, RowsDoNotDependOnCompanionsPlacesOrThreads) {
  Random random(test_seed());
  for (ggml_type type : kAllTypes) {
    const Case c = random_case(random, type);
    const int n_in = c.packed.n_in(), n_out = c.packed.n_out(), n_all = 70;
    const std::vector<float> x = random_inputs(random, n_all, n_in);
    const KernelTable& table = *supported_kernels().back();
    const std::vector<float> expected = store(table, c.packed, filled(table, c.packed, x, n_all), n_all);
    for (const KernelTable* other : supported_kernels()) {
      for (int round = 0; round < 12; ++round) {
        const int n_rows = round == 0 ? 1 : uniform(random, 1, n_all);
        std::vector<int> chosen(static_cast<size_t>(n_rows));
        std::vector<float> batch;
        for (int& row : chosen) {
          row = uniform(random, 0, n_all - 1);
          batch.insert(batch.end(), x.begin() + row * n_in, x.begin() + (row + 1) * n_in);
        }
        const int n_threads = uniform(random, 1, 4);
        const std::vector<float> out =
            store(*other, c.packed, filled(*other, c.packed, batch, n_rows), n_rows, n_threads);
        for (size_t r = 0; r < chosen.size(); ++r) {
          ASSERT_TRUE(same_bits(
              {out.data() + r * static_cast<size_t>(n_out), static_cast<size_t>(n_out)},
              {expected.data() + static_cast<size_t>(chosen[r]) * n_out, static_cast<size_t>(n_out)}))
              << isa_name(other->isa) << " " << ggml_type_name(type) << " n_out " << n_out << " n_in " << n_in
              << " row " << r << " of " << n_rows << " threads " << n_threads << " seed " << test_seed();
        }
      }
    }
  }
}

TEST(Invariance, QuantisationHasTheSameBitsOnEveryInstructionSet) {
  Random random(test_seed());
  const KernelTable& portable = *supported_kernels().back();
  for (int round = 0; round < 200; ++round) {
    const int n_in = 32 * uniform(random, 1, 8);
    std::vector<float> x = random_inputs(random, 1, n_in);
    for (int k = 0; round % 3 == 0 && k < n_in; ++k) x[k] = std::round(x[k] * 8) / 2;  // ties
    if (round % 10 == 9)
      x[static_cast<size_t>(uniform(random, 0, n_in - 1))] = round % 20 == 9 ? INFINITY : NAN;
    std::vector<Activations> results(supported_kernels().size());
    for (size_t i = 0; i < results.size(); ++i) {
      results[i].reserve(3, n_in, true, true);
      results[i].set_part_with(*supported_kernels()[i], 1, 0, n_in, x.data());
    }
    results.emplace_back().reserve(3, n_in, true, true);
    for (int k = 0; k < n_in; k += 32) results.back().set_part_with(portable, 1, k, 32, x.data() + k);
    const ActivationTile expected = results.back().tile(0);
    for (const Activations& result : results) {
      const ActivationTile got = result.tile(0);
      for (int b = 0; b < n_in / 32; ++b) {
        ASSERT_EQ(std::memcmp(got.records[b].codes[1], expected.records[b].codes[1], 32), 0)
            << "seed " << test_seed();
        ASSERT_TRUE(same_bits({&got.records[b].scales[1], 1}, {&expected.records[b].scales[1], 1}));
        for (int i = 0; i < 2; ++i) {
          const size_t at = static_cast<size_t>(b) * kTileRows * (i + 1) + 1;
          ASSERT_TRUE(same_bits({got.scaled_sums[i] + at, 1}, {expected.scaled_sums[i] + at, 1}));
          ASSERT_EQ(got.negative_sums[i][at], expected.negative_sums[i][at]);
        }
      }
    }
  }
}

TEST(Invariance, QuantisationErrorIsHalfAStep) {
  Random random(test_seed());
  for (const KernelTable* table : supported_kernels()) {
    const std::vector<float> x = normal_vector(random, 320);
    Activations activations;
    activations.reserve(1, 320, true, false);
    activations.set_part_with(*table, 0, 0, 320, x.data());
    std::vector<float> back(320);
    activations.get_row(0, back.data());
    for (size_t b = 0; b < 320; b += 32) {
      float max = 0;
      for (size_t k = b; k < b + 32; ++k) max = std::max(max, std::fabs(x[k]));
      for (size_t k = b; k < b + 32; ++k)
        EXPECT_LE(std::fabs(back[k] - x[k]), max / 127 * 0.50001F) << "seed " << test_seed();
    }
  }
}

}  // namespace
}  // namespace fastcache::linear
