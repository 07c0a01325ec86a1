// SPDX-License-Identifier: Apache-2.0
// The families beside llama, against libllama on tiny random models; and for layers with a sliding window the
// promise of runner_test.cc once more, with pages freed behind the window or not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "model/runner.h"
#include "model/testing/compare.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::skip_unless_isa_is_there;
using test_support::TestModel;
using test_support::TinyModel;

constexpr int kTokens = 300;

std::vector<int32_t> random_tokens(int n, int n_vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> token(3, n_vocab - 1);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& id : tokens) id = token(random);
  return tokens;
}

// Gates large enough that GELU is x or 0: libllama reads it from a table of half precision in between.
TinyModel gemma3(TinyModel m) {
  m.qk_norm = m.post_norms = true;
  m.gate_scale = 1000.0f;
  m.rope_base = 1e6f;
  m.architecture = "gemma3";
  return m;
}

const std::map<std::string, TinyModel>& tiny_models() {
  static const std::map<std::string, TinyModel> models{
      {"qwen2", {.qkv_bias = true, .rope_base = 1e6f, .architecture = "qwen2"}},
      {"qwen2_untied", {.n_kv_heads = 4, .tied = false, .qkv_bias = true, .architecture = "qwen2"}},
      {"qwen2_yarn",
       {.qkv_bias = true,
        .rope_scaling = "yarn",
        .rope_factor = 4.0f,
        .rope_original_context = 1024,
        .architecture = "qwen2"}},
      // The pinned libllama does not read epsilon for this one: it takes 0.
      {"qwen2vl", {.qkv_bias = true, .rope_sections = {2, 3, 3, 0}, .rms_eps = 0, .architecture = "qwen2vl"}},
      {"qwen3", {.n_embd = 96, .head_dim = 32, .qk_norm = true, .rope_base = 1e6f, .architecture = "qwen3"}},
      {"qwen3_head_dim_128",
       {.n_heads = 2,
        .n_kv_heads = 1,
        .head_dim = 128,
        .tied = false,
        .qk_norm = true,
        .architecture = "qwen3"}},
      {"gemma3", gemma3({.n_layers = 7, .sliding_window = 40})},
      {"gemma3_scaled", gemma3({.n_layers = 4,
                                .n_embd = 96,
                                .head_dim = 32,
                                .sliding_window = 130,
                                .window_pattern = 2,
                                .local_rope_base = 5000.0f,
                                .rope_scaling = "linear",
                                .rope_factor = 8.0f})},
      {"gemma3_head_dim_256",
       gemma3({.n_layers = 3, .n_kv_heads = 1, .head_dim = 256, .sliding_window = 17, .window_pattern = 3})},
      {"gemma3_all_local", gemma3({.sliding_window = 64, .window_pattern = 3})},
      {"gemma3_without_window", gemma3({})},
  };
  return models;
}

// What our logits differ from libllama's, at most, and in the norm of all.
struct Difference {
  float largest = 0;
  double relative = 0;
};

Difference difference(std::span<const float> ours, std::span<const float> expected) {
  EXPECT_EQ(ours.size(), expected.size());
  Difference result;
  double differences = 0, squares = 0;
  for (size_t i = 0; i < std::min(ours.size(), expected.size()); ++i) {
    const float apart = std::abs(ours[i] - expected[i]);
    if (!(apart <= result.largest)) result.largest = apart;  // a NaN wins
    differences += double{apart} * apart;
    squares += double{expected[i]} * expected[i];
  }
  result.relative = std::sqrt(differences / squares);
  return result;
}

// With rows in f32 and in bf16: of chunks, then token by token.
struct OfTypes {
  Difference f32, bf16;
};

OfTypes differences(const TinyModel& of) {
  const test_support::TemporaryFolder folder;
  const std::string path = folder.file("tiny.gguf");
  test_support::write_tiny_model(path, of);
  TestModel model(path);
  const auto tokens = random_tokens(kTokens, model.hparams.n_vocab, 1);
  test_support::LlamaOracle oracle(path, {.n_ctx = 512});
  const std::vector<float> expected = oracle.logits(tokens);
  const auto ours = [&](kv::KvType type) {
    return test_support::logits_of(model, tokens, {.kv_type = type, .chunks = {37, 128, 129, 1}});
  };
  return {difference(ours(kv::KvType::f32), expected), difference(ours(kv::KvType::bf16), expected)};
}

class FamilyTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { skip_unless_isa_is_there(); }
};

std::vector<std::string> tiny_model_names() {
  std::vector<std::string> names;
  for (const auto& [name, model] : tiny_models()) names.push_back(name);
  return names;
}

TEST_P(FamilyTest, LogitsAgreeWithLibllama) {
  const OfTypes apart = differences(tiny_models().at(GetParam()));
  EXPECT_LE(apart.f32.largest, 1e-4f);
  EXPECT_LE(apart.bf16.relative, 0.02);  // 8 bits of K and V
}

INSTANTIATE_TEST_SUITE_P(All, FamilyTest, testing::ValuesIn(tiny_model_names()),
                         [](const auto& info) { return info.param; });

// libllama rounds GELU's argument and value to 11 bits each.
TEST(Gemma3, GeluAgreesWithLibllamaUpToItsTable) {
  skip_unless_isa_is_there();
  if (testing::Test::IsSkipped()) return;
  TinyModel model = gemma3({.n_layers = 3, .sliding_window = 40, .window_pattern = 2});
  model.gate_scale = 1.0f;
  EXPECT_LE(differences(model).f32.relative, 1e-3);
}

struct BitCase {
  const char* name;
  ggml_type weights;
  kv::KvType kv_type;
  TinyModel model;
};

class FamilyBits : public testing::TestWithParam<BitCase> {
 protected:
  void SetUp() override {
    skip_unless_isa_is_there();
    if (IsSkipped()) return;
    TinyModel tiny = GetParam().model;
    tiny.type = GetParam().weights;
    tiny.embedding_type = GGML_TYPE_Q8_0;
    test_support::write_tiny_model(folder_.file("tiny.gguf"), tiny);
    model_ = std::make_unique<TestModel>(folder_.file("tiny.gguf"));
  }

  std::vector<float> logits(std::span<const int32_t> tokens, std::vector<int> chunks, int n_threads,
                            bool free_unseen) {
    return test_support::logits_of(*model_, tokens,
                                   {.kv_type = GetParam().kv_type,
                                    .n_threads = n_threads,
                                    .chunks = std::move(chunks),
                                    .free_unseen = free_unseen});
  }

  test_support::TemporaryFolder folder_;
  std::unique_ptr<TestModel> model_;
};

TEST_P(FamilyBits, AnyChunkingThreadCountAndFreeing) {
  const auto tokens = random_tokens(700, model_->hparams.n_vocab, 2);
  const std::vector<float> whole = logits(tokens, {700}, 1, false);
  std::mt19937 random(3);
  for (int round = 0; round < 3; ++round) {
    std::vector<int> chunks;
    for (int i = 0; i < 30; ++i)
      chunks.push_back(1 + static_cast<int>(random() % (round % 2 == 0 ? 9 : 200)));
    chunks.push_back(200);
    EXPECT_EQ(logits(tokens, chunks, 1 + round % 2, round > 0), whole) << "round " << round;
  }
}

// Each alone, then all together, with pages freed behind the windows.
TEST_P(FamilyBits, AnyCompanionsInTheBatch) {
  constexpr int kSequences = 4;
  const size_t n_vocab = static_cast<size_t>(model_->hparams.n_vocab);
  std::mt19937 random(4);
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> alone;
  for (int s = 0; s < kSequences; ++s) {
    texts.push_back(random_tokens(200 + static_cast<int>(random() % 200), model_->hparams.n_vocab,
                                  10 + static_cast<uint32_t>(s)));
    alone.push_back(logits(texts.back(), {512}, 1, false));
  }
  test_support::evaluate_together(
      *model_, texts, {.kv_type = GetParam().kv_type, .free_unseen = true}, random,
      [&](int s, int position, std::span<const float> logits) {
        const std::span expected = std::span(alone[static_cast<size_t>(s)])
                                       .subspan(static_cast<size_t>(position) * n_vocab, n_vocab);
        EXPECT_TRUE(std::ranges::equal(logits, expected)) << "sequence " << s << ", position " << position;
      });
}

std::vector<BitCase> bit_cases() {
  const TinyModel small{.n_embd = 192, .n_ff = 256, .n_heads = 3, .n_kv_heads = 1, .head_dim = 64};
  TinyModel windows = small;
  windows.n_layers = 3;
  windows.sliding_window = 100;
  windows.window_pattern = 2;
  windows = gemma3(windows);
  TinyModel qwen2 = small, qwen3 = small;
  qwen2.architecture = "qwen2";
  qwen2.qkv_bias = true;
  qwen3.architecture = "qwen3";
  qwen3.qk_norm = true;
  return {{"gemma3_f32", GGML_TYPE_F32, kv::KvType::f32, windows},
          {"gemma3_bf16", GGML_TYPE_Q4_1, kv::KvType::bf16, windows},
          {"gemma3_int8", GGML_TYPE_Q8_0, kv::KvType::int8, windows},
          {"qwen2_bf16", GGML_TYPE_Q4_1, kv::KvType::bf16, qwen2},
          {"qwen3_bf16", GGML_TYPE_BF16, kv::KvType::bf16, qwen3}};
}

INSTANTIATE_TEST_SUITE_P(All, FamilyBits, testing::ValuesIn(bit_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fastcache::model
