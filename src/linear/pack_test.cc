// SPDX-License-Identifier: Apache-2.0
// The mapping from the file is exact: every weight equals ggml's dequantised value bit for bit, except that
// zero may change its sign (a code below the offset times a negative scale).
#include "base/error.h"
#include "linear/linear_test_util.h"

namespace fastcache::linear {
namespace {

void expect_exact(const Weights& weights, const PackedMatrix& packed, int first_row) {
  std::vector<float> row(static_cast<size_t>(weights.n_in));
  for (int i = 0; i < weights.n_out; ++i) {
    get_row(packed, first_row + i, row.data());
    const float* expected = weights.values.data() + static_cast<size_t>(i) * weights.n_in;
    for (int k = 0; k < weights.n_in; ++k) {
      ASSERT_EQ(row[k], expected[k]) << ggml_type_name(weights.type) << " row " << i << " channel " << k
                                     << " seed " << test_seed();
    }
  }
}

TEST(Pack, APartOfARowIsThatPartOfTheRow) {
  Random random(test_seed());
  for (ggml_type type : kAllTypes) {
    const Weights weights = quantised_weights(random, type, 20, 512);
    const WeightSource source = weights.source();
    const PackedMatrix packed = pack({&source, 1});
    std::vector<float> whole(512), part(512);
    for (int round = 0; round < 40; ++round) {
      const int row = uniform(random, 0, 19), first = uniform(random, 0, 511);
      const int n = uniform(random, 0, 512 - first);
      get_row(packed, row, whole.data());
      get_row_part(packed, row, first, n, part.data());
      for (int i = 0; i < n; ++i)
        ASSERT_EQ(part[i], whole[first + i]) << ggml_type_name(type) << " seed " << test_seed();
    }
  }
}

TEST(Pack, IsExactForQuantisedWeights) {
  Random random(test_seed());
  for (ggml_type type : kAllTypes) {
    for (int n_out : {1, 16, 37}) {
      const Weights weights = quantised_weights(random, type, n_out, 256 * uniform(random, 1, 3));
      const WeightSource source = weights.source();
      expect_exact(weights, pack({&source, 1}), 0);
    }
  }
}

TEST(Pack, IsExactForAnyBytesWithFiniteScales) {
  Random random(test_seed());
  for (ggml_type type : kAllTypes) {
    const Weights weights = random_bytes_weights(random, type, 45, 512);
    const WeightSource source = weights.source();
    expect_exact(weights, pack({&source, 1}), 0);
  }
}

TEST(Pack, StacksDifferentTypesAndKeepsEachExact) {
  Random random(test_seed());
  for (int round = 0; round < 20; ++round) {
    const int n_in = 256 * uniform(random, 1, 3);
    std::vector<Weights> weights;
    std::vector<WeightSource> sources;
    for (int i = uniform(random, 1, 4); i > 0; --i) {
      const ggml_type type = kAllTypes[static_cast<size_t>(uniform(random, 0, kAllTypes.size() - 1))];
      weights.push_back(quantised_weights(random, type, uniform(random, 1, 70), n_in));
    }
    for (const Weights& w : weights) sources.push_back(w.source());
    const PackedMatrix packed = pack(sources);
    int first_row = 0;
    for (const Weights& w : weights) {
      expect_exact(w, packed, first_row);
      first_row += w.n_out;
    }
    EXPECT_EQ(packed.n_out(), first_row);
  }
}

TEST(Pack, TakesNoMoreMemoryThanTheFileForFourAndEightBitTypes) {
  Random random(test_seed());
  for (ggml_type type :
       {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_F32}) {
    const Weights weights = quantised_weights(random, type, 64, 256);
    const WeightSource source = weights.source();
    EXPECT_EQ(pack({&source, 1}).bytes(), weights.file.size()) << ggml_type_name(type);
  }
}

TEST(Pack, DescribesItselfAndItsNeeds) {
  Random random(test_seed());
  const Weights a = quantised_weights(random, GGML_TYPE_Q4_1, 40, 256),
                b = quantised_weights(random, GGML_TYPE_BF16, 16, 256),
                c = quantised_weights(random, GGML_TYPE_F16, 8, 256);
  const WeightSource sources[] = {a.source(), b.source(), c.source()};
  const std::span<const WeightSource> all(sources);
  EXPECT_EQ(pack(all).description(), "Q4_1 x 40, BF16 x 16, F16 x 8");
  const auto needs = [&](size_t first, size_t n) {
    const InputForms forms = pack(all.subspan(first, n)).input_forms();
    return std::array{forms.int8_blocks, forms.bf16, forms.f32};
  };
  EXPECT_EQ(needs(0, 1), (std::array{true, false, false}));
  EXPECT_EQ(needs(1, 1), (std::array{false, true, false}));
  EXPECT_EQ(needs(2, 1), (std::array{false, false, true}));
  EXPECT_EQ(needs(0, 3), (std::array{true, true, true}));
}

std::string message_of(const std::vector<WeightSource>& sources, Code code) {
  try {
    pack(sources);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  return "no error";
}

TEST(Pack, SaysWhatIsWrong) {
  float data[64] = {};
  const WeightSource good{GGML_TYPE_F32, data, 1, 64, "a.weight"};
  EXPECT_EQ(message_of({{GGML_TYPE_IQ2_XXS, data, 1, 256, "b.weight"}}, Code::unsupported),
            "tensor 'b.weight' has type iq2_xxs, which linear layers cannot use; supported are Q4_0, Q4_1, "
            "Q5_0, Q5_1, "
            "Q8_0, Q2_K to Q6_K, F16, BF16 and F32");
  EXPECT_EQ(message_of({{GGML_TYPE_Q4_K, data, 1, 64, "c.weight"}}, Code::unsupported),
            "tensor 'c.weight' (Q4_K) has 64 input channels; they must be a multiple of 256");
  EXPECT_EQ(message_of({{GGML_TYPE_F16, data, 1, 33, "d.weight"}}, Code::unsupported),
            "tensor 'd.weight' (F16) has 33 input channels; they must be a multiple of 32");
  EXPECT_EQ(message_of({{GGML_TYPE_F16, data, 0, 32, "e.weight"}}, Code::unsupported),
            "tensor 'e.weight' has no output channels");
  EXPECT_EQ(message_of({good, {GGML_TYPE_F32, data, 1, 32, "f.weight"}}, Code::invalid_model),
            "tensor 'f.weight' has 32 input channels, but 'a.weight' beside it has 64");
  EXPECT_THROW(pack_gate_up(good, good), Error);  // one output channel: no whole block of 32
  EXPECT_FALSE(can_pack(GGML_TYPE_IQ2_XXS));
  EXPECT_FALSE(can_pack(-1));
}

}  // namespace
}  // namespace fastcache::linear
