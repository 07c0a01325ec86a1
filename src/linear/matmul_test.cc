// SPDX-License-Identifier: Apache-2.0
// Every kernel this CPU supports, every file type, against plain loops in double precision.
#include "linear/linear_test_util.h"

namespace fastcache::linear {
namespace {

class MatmulTest : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  Random random_{test_seed()};
};

struct Reference {
  std::vector<double> out;        // [n_rows, n_out]
  std::vector<double> tolerance;  // the same shape
};

// The product of ggml's dequantised weights and the activations as quantised. f32 sums differ from it by at
// most one rounding (2^-24) for each of the 2 n_blocks + 4 operations on an element (32 more for float
// weights) times what is summed; scale * code and min may each be larger than the weight, for which 8 times
// the block's largest weight stands. bf16 weights times bf16 inputs are exact: only their sums are rounded,
// and VDPBF16PS may lose a denormal in each.
Reference reference(const Weights& weights, const Activations& input, int n_rows) {
  Reference reference;
  std::vector<float> x(static_cast<size_t>(weights.n_in));
  const bool is_float =
      weights.type == GGML_TYPE_F32 || weights.type == GGML_TYPE_F16 || weights.type == GGML_TYPE_BF16;
  const double roundings = 2.0 * weights.n_in / 32 + 4 + (is_float ? 32 : 0);
  for (int r = 0; r < n_rows; ++r) {
    input.get_row(r, x.data());
    for (int o = 0; o < weights.n_out; ++o) {
      const float* w = weights.values.data() + static_cast<size_t>(o) * weights.n_in;
      double sum = 0, magnitude = 0;
      for (int b = 0; b < weights.n_in; b += 32) {
        double largest = 0, inputs = 0;
        for (int k = b; k < b + 32; ++k) {
          sum += static_cast<double>(w[k]) * x[k];
          largest = std::max(largest, std::fabs(static_cast<double>(w[k])));
          inputs += std::fabs(static_cast<double>(x[k]));
        }
        magnitude += 8 * largest * inputs;
      }
      if (weights.type == GGML_TYPE_BF16) {
        magnitude = 0;
        for (int k = 0; k < weights.n_in; ++k) magnitude += std::fabs(static_cast<double>(w[k]) * x[k]);
      }
      reference.out.push_back(sum);
      reference.tolerance.push_back(roundings * 0x1p-24 * magnitude + weights.n_in * 0x1p-126);
    }
  }
  return reference;
}

void expect_near(const std::vector<float>& out, const Reference& reference, const std::string& what) {
  ASSERT_EQ(out.size(), reference.out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], reference.out[i], reference.tolerance[i])
        << what << " element " << i << " seed " << test_seed();
  }
}

int channels_multiple(ggml_type type) { return std::max(32, static_cast<int>(ggml_blck_size(type))); }

TEST_P(MatmulTest, EveryTypeAgreesWithDoublePrecision) {
  for (ggml_type type : kAllTypes) {
    for (int round = 0; round < 6; ++round) {
      const int step = channels_multiple(type);
      const int n_in = step * uniform(random_, 1, 1024 / step), n_out = uniform(random_, 1, 70),
                n_rows = uniform(random_, 1, 70);
      const Weights weights = quantised_weights(random_, type, n_out, n_in);
      const WeightSource source = weights.source();
      const PackedMatrix packed = pack({&source, 1});
      const Activations input =
          filled(table(), packed, normal_vector(random_, static_cast<size_t>(n_rows) * n_in), n_rows);
      expect_near(store(table(), packed, input, n_rows, uniform(random_, 1, 3)),
                  reference(weights, input, n_rows),
                  fmt::format("{} n_out {} n_in {} n_rows {}", ggml_type_name(type), n_out, n_in, n_rows));
    }
  }
}

TEST_P(MatmulTest, LongInputs) {
  for (ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_Q6_K, GGML_TYPE_BF16, GGML_TYPE_F32}) {
    const Weights weights = quantised_weights(random_, type, 33, 4096);
    const WeightSource source = weights.source();
    const PackedMatrix packed = pack({&source, 1});
    const Activations input = filled(table(), packed, normal_vector(random_, 5 * 4096), 5);
    expect_near(store(table(), packed, input, 5), reference(weights, input, 5), ggml_type_name(type));
  }
}

// The largest dot products that the codes allow: no step may saturate.
TEST_P(MatmulTest, ExtremeCodesDoNotSaturate) {
  for (ggml_type type : kAllTypes) {
    if (type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16) continue;
    const int n_in = channels_multiple(type);
    for (float sign : {1.0F, -1.0F}) {
      Weights weights{
          type, 16, n_in, std::vector<std::byte>(ggml_row_size(type, n_in) * 16, std::byte{0xff}), {}};
      std::vector<float> ramp(static_cast<size_t>(n_in) * 16, sign);
      for (size_t i = 0; i < ramp.size(); i += 32)
        ramp[i] = -0.99F * sign;  // both ends of the range of codes
      ggml_quantize_chunk(type, ramp.data(), weights.file.data(), 0, 16, n_in, nullptr);
      dequantise(weights);
      const WeightSource source = weights.source();
      const PackedMatrix packed = pack({&source, 1});
      const Activations input =
          filled(table(), packed, std::vector<float>(static_cast<size_t>(n_in), 1.0F), 1);
      expect_near(store(table(), packed, input, 1), reference(weights, input, 1), ggml_type_name(type));
    }
  }
}

TEST_P(MatmulTest, StackedTypesEachAgree) {
  for (int round = 0; round < 10; ++round) {
    const int n_in = 256 * uniform(random_, 1, 2), n_rows = uniform(random_, 1, 40);
    std::vector<Weights> weights;
    std::vector<WeightSource> sources;
    for (int i = 0; i < 3; ++i) {
      const ggml_type type = kAllTypes[static_cast<size_t>(uniform(random_, 0, kAllTypes.size() - 1))];
      weights.push_back(quantised_weights(random_, type, uniform(random_, 1, 50), n_in));
    }
    for (const Weights& w : weights) sources.push_back(w.source());
    const PackedMatrix packed = pack(sources);
    const std::vector<float> x = normal_vector(random_, static_cast<size_t>(n_rows) * n_in);
    const std::vector<float> out = store(table(), packed, filled(table(), packed, x, n_rows), n_rows, 2);
    size_t first_column = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const PackedMatrix alone = pack({&sources[i], 1});
      const std::vector<float> expected = store(table(), alone, filled(table(), alone, x, n_rows), n_rows);
      const size_t n = static_cast<size_t>(weights[i].n_out);
      for (size_t r = 0; r < static_cast<size_t>(n_rows); ++r) {
        const float* got = out.data() + r * static_cast<size_t>(packed.n_out()) + first_column;
        ASSERT_TRUE(same_bits({got, n}, {expected.data() + r * n, n}))
            << packed.description() << " seed " << test_seed();
      }
      first_column += n;
    }
  }
}

TEST_P(MatmulTest, WritesNothingOutsideItsRowsAndColumns) {
  const Weights weights = quantised_weights(random_, GGML_TYPE_Q4_1, 37, 64);
  const WeightSource source = weights.source();
  const PackedMatrix packed = pack({&source, 1});
  const Activations input = filled(table(), packed, normal_vector(random_, 20 * 64), 20);
  std::vector<float> out(15 * 40, -7.0F);
  MatmulArgs args;
  args.weights = &packed;
  args.input = &input;
  args.n_rows = 14;
  args.out = out.data();
  args.out_stride = 40;
  run_matmul(table(), args, 1);
  for (int r = 0; r < 15; ++r) {
    for (int c = 0; c < 40; ++c) {
      if (r < 14 && c < 37) continue;
      EXPECT_EQ(out[static_cast<size_t>(r) * 40 + c], -7.0F) << r << " " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, MatmulTest,
                         ::testing::ValuesIn(supported_kernels().begin(), supported_kernels().end()),
                         [](const auto& info) { return std::string(isa_name(info.param->isa)); });

}  // namespace
}  // namespace fastcache::linear
