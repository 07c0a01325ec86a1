// SPDX-License-Identifier: Apache-2.0
// Bias, residual and gates against plain loops over the stored product.
#include "linear/linear_test_util.h"

namespace fastcache::linear {
namespace {

class EpilogueTest : public ::testing::TestWithParam<const KernelTable*> {
 protected:
  const KernelTable& table() const { return *GetParam(); }
  Random random_{test_seed()};
};

TEST_P(EpilogueTest, BiasAndResidualAreAddedToTheStoredProduct) {
  for (ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_BF16, GGML_TYPE_F32}) {
    const int n_out = uniform(random_, 1, 100), n_rows = uniform(random_, 1, 40), n_in = 96;
    const Weights weights = quantised_weights(random_, type, n_out, n_in);
    const WeightSource source = weights.source();
    const PackedMatrix packed = pack({&source, 1});
    const Activations input =
        filled(table(), packed, normal_vector(random_, static_cast<size_t>(n_rows) * n_in), n_rows);
    const std::vector<float> product = store(table(), packed, input, n_rows);
    const std::vector<float> bias = normal_vector(random_, static_cast<size_t>(n_out));
    const std::vector<float> residual = normal_vector(random_, product.size());

    std::vector<float> out = residual;  // in place
    MatmulArgs args;
    args.weights = &packed;
    args.input = &input;
    args.n_rows = n_rows;
    args.epilogue = Epilogue::add;
    args.bias = bias.data();
    args.residual = out.data();
    args.out = out.data();
    args.out_stride = static_cast<size_t>(n_out);
    run_matmul(table(), args, 2);
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], residual[i] + (product[i] + bias[i % static_cast<size_t>(n_out)]))
          << i << " seed " << test_seed();
    }
  }
}

double gate_value(Gate kind, double x) {
  if (kind == Gate::silu) return x / (1 + std::exp(-x));
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

TEST_P(EpilogueTest, GateFunctionsAreWithinTheirErrorAndHaveTheSameBitsEverywhere) {
  for (Gate kind : {Gate::silu, Gate::gelu}) {
    std::vector<float> x(4096), ones(4096, 1.0F), out(4096), portable(4096);
    for (float& value : x) value = std::uniform_real_distribution<float>(-30, 30)(random_);
    const float special[] = {0.0F, -0.0F, 1e-30F, -1e-30F, 88.5F, -88.5F, 1e30F, -1e30F, 1.0F, -1.0F};
    std::copy(std::begin(special), std::end(special), x.begin());
    table().gate_up(kind, x.data(), ones.data(), 4096, out.data());
    supported_kernels().back()->gate_up(kind, x.data(), ones.data(), 4096, portable.data());
    EXPECT_TRUE(same_bits(out, portable)) << "seed " << test_seed();
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = gate_value(kind, x[i]);
      // exp(-z) is within 1e-6 after the rounding of z itself, |z| 2^-23; the exponential is cut off at e^88.
      const double relative = 1e-6 + (kind == Gate::silu ? 1.0 : 4.0 + x[i] * static_cast<double>(x[i])) *
                                         std::fabs(x[i]) * 0x1p-22;
      EXPECT_NEAR(out[i], expected, std::fabs(expected) * relative + 1e-6) << x[i] << " seed " << test_seed();
    }
  }
}

TEST_P(EpilogueTest, GateUpFillsTheNextInput) {
  for (ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_Q6_K, GGML_TYPE_F16, GGML_TYPE_BF16}) {
    for (Epilogue epilogue : {Epilogue::silu_mul, Epilogue::gelu_mul}) {
      const int n_out = 32 * uniform(random_, 1, 9), n_rows = uniform(random_, 1, 40), n_in = 256;
      const Weights gate = quantised_weights(random_, type, n_out, n_in);
      const Weights up = quantised_weights(random_, GGML_TYPE_Q4_1, n_out, n_in);  // types may differ
      const PackedMatrix both = pack_gate_up(gate.source(), up.source());
      const WeightSource sources[] = {gate.source(), up.source()};
      const PackedMatrix stacked = pack(sources);
      const Activations input =
          filled(table(), both, normal_vector(random_, static_cast<size_t>(n_rows) * n_in), n_rows);
      const std::vector<float> product = store(table(), stacked, input, n_rows);

      Activations out, expected;
      for (Activations* activations : {&out, &expected})
        activations->reserve(n_rows, n_out, {true, true, true});
      MatmulArgs args;
      args.weights = &both;
      args.input = &input;
      args.n_rows = n_rows;
      args.epilogue = epilogue;
      args.out_activations = &out;
      run_matmul(table(), args, 3);

      std::vector<float> row(static_cast<size_t>(n_out)), got(row.size()), wanted(row.size());
      const Gate kind = epilogue == Epilogue::silu_mul ? Gate::silu : Gate::gelu;
      for (int r = 0; r < n_rows; ++r) {
        const float* both_halves = product.data() + static_cast<size_t>(r) * 2 * n_out;
        table().gate_up(kind, both_halves, both_halves + n_out, n_out, row.data());
        expected.set_part_with(table(), r, 0, n_out, row.data());
        out.get_row(r, got.data());
        expected.get_row(r, wanted.data());
        ASSERT_TRUE(same_bits(got, wanted))
            << ggml_type_name(type) << " row " << r << " seed " << test_seed();
        for (int i = 0; i < n_out; i += 32) {
          ASSERT_EQ(std::memcmp(out.value_slot(r, i), row.data() + i, 32 * sizeof(float)), 0);
          ASSERT_EQ(std::memcmp(out.rounded_slot(r, i), expected.rounded_slot(r, i), 32 * sizeof(bf16_t)), 0);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, EpilogueTest,
                         ::testing::ValuesIn(supported_kernels().begin(), supported_kernels().end()),
                         [](const auto& info) { return std::string(isa_name(info.param->isa)); });

}  // namespace
}  // namespace fastcache::linear
