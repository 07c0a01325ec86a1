// SPDX-License-Identifier: Apache-2.0
// The bits of an output row depend on its input row and the weights alone: not on the other rows, its place
// among them, the number of threads, or (bf16 weights excepted) the instruction set.
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
    for (const KernelTable* other : supported_kernels()) {
      const KernelTable& table = type == GGML_TYPE_BF16 ? *other : *supported_kernels().back();
      const std::vector<float> expected = store(table, c.packed, filled(table, c.packed, x, n_all), n_all);
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
      results[i].reserve(3, n_in, {true, true, true});
      results[i].set_part_with(*supported_kernels()[i], 1, 0, n_in, x.data());
    }
    results.emplace_back().reserve(3, n_in, {true, true, true});
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

// The nearer of the two bf16 numbers that enclose a finite x, the even one of two equally near.
float nearest_bf16(float x) {
  if (std::fabs(x) < 0x1p-126F) return std::copysign(0.0F, x);
  const bf16_t toward_zero = static_cast<bf16_t>(std::bit_cast<uint32_t>(x) >> 16);
  const bf16_t away = static_cast<bf16_t>(toward_zero + 1);
  const auto magnitude = [](bf16_t y) {
    const double finite = std::fabs(static_cast<double>(bf16_to_f32(y)));
    return std::isinf(finite) ? 0x1p128 : finite;  // what the largest numbers round to
  };
  const double below = std::fabs(static_cast<double>(x)) - magnitude(toward_zero);
  const double above = magnitude(away) - std::fabs(static_cast<double>(x));
  const bool down = below < above || (below == above && toward_zero % 2 == 0);
  return bf16_to_f32(down ? toward_zero : away);
}

TEST(Invariance, RoundingToBf16IsToNearestEvenOnEveryInstructionSet) {
  Random random(test_seed());
  for (int round = 0; round < 200; ++round) {
    const int n_in = 32 * uniform(random, 1, 8);
    std::vector<float> x(static_cast<size_t>(n_in));
    for (float& value : x) {
      uint32_t bits = static_cast<uint32_t>(random());  // any float at all: NaNs, infinities, denormals
      const uint32_t special[] = {bits, bits & 0xffff8000U, (bits & 0xffff0000U) | 0x8000U,
                                  bits & 0x807fffffU, bits | 0x7f000000U};
      value = std::bit_cast<float>(special[uniform(random, 0, 4)]);
    }
    for (const KernelTable* table : supported_kernels()) {
      Activations activations;
      activations.reserve(14, n_in, {.bf16 = true});
      const int row = uniform(random, 0, 13), half = n_in / 64 * 32;
      if (half > 0) activations.set_part_with(*table, row, 0, half, x.data());
      activations.set_part_with(*table, row, half, n_in - half, x.data() + half);
      std::vector<float> got(x.size());
      activations.get_row(row, got.data());
      for (size_t k = 0; k < x.size(); ++k) {
        ASSERT_EQ(std::isnan(got[k]), std::isnan(x[k])) << isa_name(table->isa) << " seed " << test_seed();
        if (std::isnan(x[k])) continue;
        const float expected = std::isinf(x[k]) ? x[k] : nearest_bf16(x[k]);
        ASSERT_TRUE(same_bits({&got[k], 1}, {&expected, 1}))
            << isa_name(table->isa) << " " << x[k] << " became " << got[k] << " seed " << test_seed();
      }
    }
  }
}

TEST(Invariance, QuantisationErrorIsHalfAStep) {
  Random random(test_seed());
  for (const KernelTable* table : supported_kernels()) {
    const std::vector<float> x = normal_vector(random, 320);
    Activations activations;
    activations.reserve(1, 320, {.int8_blocks = true});
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
