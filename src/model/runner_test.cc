// SPDX-License-Identifier: Apache-2.0
// The graph against libllama on tiny random models, and the promise that a token's logits have the same bits
// whatever the chunking, the companions in the batch and the number of threads.
#include "model/runner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "model/testing/compare.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::EvaluateOptions;
using test_support::largest_difference;
using test_support::skip_unless_isa_is_there;
using test_support::TestModel;
using test_support::TinyModel;

std::vector<int32_t> random_tokens(int n, int n_vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int32_t> token(3, n_vocab - 1);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& id : tokens) id = token(random);
  return tokens;
}

const std::map<std::string, TinyModel>& tiny_models() {
  static const std::map<std::string, TinyModel> models{
      {"grouped_query", {}},
      {"untied", {.tied = false}},
      {"one_kv_head", {.n_heads = 8, .n_kv_heads = 1, .head_dim = 16}},
      {"no_groups", {.n_heads = 4, .n_kv_heads = 4}},
      {"head_dim_64", {.n_embd = 192, .n_heads = 3, .n_kv_heads = 1, .head_dim = 64}},
      {"head_dim_128", {.n_embd = 128, .n_heads = 2, .n_kv_heads = 1, .head_dim = 128}},
      {"head_dim_not_n_embd_over_heads", {.n_embd = 96, .n_heads = 4, .n_kv_heads = 2, .head_dim = 32}},
      {"rope_base", {.rope_base = 500000.0f}},
      {"rope_linear", {.rope_scaling = "linear", .rope_factor = 4.0f}},
      {"rope_yarn", {.rope_scaling = "yarn", .rope_factor = 4.0f, .rope_original_context = 1024}},
      {"rope_llama3", {.rope_base = 500000.0f, .llama3_rope = true}},
  };
  return models;
}

class TinyModelTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { skip_unless_isa_is_there(); }
};

TEST_P(TinyModelTest, LogitsAgreeWithLibllama) {
  const test_support::TemporaryFolder folder;
  const std::string path = folder.file("tiny.gguf");
  test_support::write_tiny_model(path, tiny_models().at(GetParam()));
  TestModel model(path);
  const auto tokens = random_tokens(300, model.hparams.n_vocab, 1);
  test_support::LlamaOracle oracle(path, {.n_ctx = 512});
  const std::vector<float> expected = oracle.logits(tokens);
  const std::vector<float> ours =
      test_support::logits_of(model, tokens, {.kv_type = kv::KvType::f32, .chunks = {37, 128}});
  EXPECT_LE(largest_difference(ours, expected), 1e-4f);
}

// Both round the inputs of a product to bf16. Sums that differ in their last f32 bits can fall on the two
// sides of a tie, which the layers behind carry on: 0.002 of the logits' norm. With inputs in f32 it would be
// 0.006.
TEST(Bf16Weights, LogitsAgreeWithLibllama) {
  skip_unless_isa_is_there();
  if (testing::Test::IsSkipped()) return;
  const test_support::TemporaryFolder folder;
  const std::string path = folder.file("tiny.gguf");
  test_support::write_tiny_model(path, {.n_embd = 192, .n_ff = 256, .head_dim = 32, .type = GGML_TYPE_BF16});
  TestModel model(path);
  const auto tokens = random_tokens(300, model.hparams.n_vocab, 1);
  test_support::LlamaOracle oracle(path, {.n_ctx = 512});
  const std::vector<float> expected = oracle.logits(tokens);
  const std::vector<float> ours =
      test_support::logits_of(model, tokens, {.kv_type = kv::KvType::f32, .chunks = {37, 128}});
  double differences = 0, squares = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    differences += std::pow(ours[i] - expected[i], 2.0);
    squares += std::pow(expected[i], 2.0);
  }
  EXPECT_LE(std::sqrt(differences / squares), 0.004);
}

std::vector<std::string> tiny_model_names() {
  std::vector<std::string> names;
  for (const auto& [name, model] : tiny_models()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, TinyModelTest, testing::ValuesIn(tiny_model_names()),
                         [](const auto& info) { return info.param; });

// Weights and cache types that take different kernels.
struct BitCase {
  ggml_type weights;
  kv::KvType kv_type;
};

class BitIdentity : public testing::TestWithParam<BitCase> {
 protected:
  void SetUp() override {
    skip_unless_isa_is_there();
    if (IsSkipped()) return;
    test_support::write_tiny_model(folder_.file("tiny.gguf"), {.n_embd = 192,
                                                               .n_ff = 256,
                                                               .n_heads = 3,
                                                               .n_kv_heads = 1,
                                                               .head_dim = 64,
                                                               .type = GetParam().weights,
                                                               .embedding_type = GGML_TYPE_Q8_0});
    model_ = std::make_unique<TestModel>(folder_.file("tiny.gguf"));
  }

  std::vector<float> logits(std::span<const int32_t> tokens, std::vector<int> chunks, int n_threads) {
    return test_support::logits_of(
        *model_, tokens,
        {.kv_type = GetParam().kv_type, .n_threads = n_threads, .chunks = std::move(chunks)});
  }

  test_support::TemporaryFolder folder_;
  std::unique_ptr<TestModel> model_;
};

TEST_P(BitIdentity, AnyChunkingAndThreadCount) {
  const auto tokens = random_tokens(560, model_->hparams.n_vocab, 2);
  const std::vector<float> whole = logits(tokens, {560}, 1);
  std::mt19937 random(3);
  for (int round = 0; round < 4; ++round) {
    std::vector<int> chunks;
    for (int i = 0; i < 40; ++i)
      chunks.push_back(1 + static_cast<int>(random() % (round % 2 == 0 ? 9 : 200)));
    chunks.push_back(200);
    const int n_threads = 1 + round % 2;
    EXPECT_EQ(logits(tokens, chunks, n_threads), whole)
        << "round " << round << ", " << n_threads << " threads";
  }
}

TEST_P(BitIdentity, AnyCompanionsInTheBatch) {
  constexpr int kSequences = 5;
  std::mt19937 random(4);
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> alone;
  for (int s = 0; s < kSequences; ++s) {
    texts.push_back(random_tokens(40 + static_cast<int>(random() % 300), model_->hparams.n_vocab,
                                  10 + static_cast<uint32_t>(s)));
    alone.push_back(logits(texts.back(), {512}, 1));
  }
  const kv::CacheShape shape = cache_shape(model_->hparams, GetParam().kv_type);
  kv::PagePool pool({.head_dim = 64, .bytes = size_t{64} << 20, .types = {GetParam().kv_type}});
  ComputePool compute(2);
  Runner runner(model_->hparams, *model_->family, pool, compute);
  const size_t n_vocab = static_cast<size_t>(model_->hparams.n_vocab);
  for (int round = 0; round < 4; ++round) {
    std::vector<kv::Sequence> sequences;
    for (int s = 0; s < kSequences; ++s) sequences.emplace_back(pool, shape);
    while (true) {
      std::vector<StepSequence> step;
      std::vector<std::vector<int32_t>> rows(kSequences);
      std::vector<std::pair<int, int>> wanted;  // sequence, position
      for (int s : {3, 0, 4, 2, 1}) {
        const int done = sequences[s].token_count();
        const int left = static_cast<int>(texts[s].size()) - done;
        const int n = std::min(left, static_cast<int>(random() % 70));  // some sit a step out
        if (n == 0) continue;
        ASSERT_TRUE(sequences[s].append_text(
            std::span(texts[s]).subspan(static_cast<size_t>(done), static_cast<size_t>(n))));
        rows[s] = {n - 1};
        wanted.emplace_back(s, done + n - 1);
        step.push_back({.sequence = &sequences[s], .n_new = n, .logit_rows = rows[s]});
      }
      if (step.empty()) {
        if (std::ranges::all_of(texts, [&](const auto& t) {
              return sequences[&t - texts.data()].token_count() == static_cast<int>(t.size());
            }))
          break;
        continue;
      }
      const std::span<const float> logits = runner.run(step);
      for (size_t i = 0; i < wanted.size(); ++i) {
        const auto [s, position] = wanted[i];
        const std::span expected =
            std::span(alone[s]).subspan(static_cast<size_t>(position) * n_vocab, n_vocab);
        ASSERT_TRUE(std::ranges::equal(logits.subspan(i * n_vocab, n_vocab), expected))
            << "sequence " << s << ", position " << position;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, BitIdentity,
    testing::Values(BitCase{GGML_TYPE_Q4_1, kv::KvType::bf16}, BitCase{GGML_TYPE_Q4_1, kv::KvType::int8},
                    BitCase{GGML_TYPE_Q8_0, kv::KvType::f32}, BitCase{GGML_TYPE_F32, kv::KvType::f32},
                    BitCase{GGML_TYPE_BF16, kv::KvType::bf16}),
    [](const auto& info) {
      return std::string(ggml_type_name(info.param.weights)) + "_" + kv::kv_type_name(info.param.kv_type);
    });

}  // namespace
}  // namespace fastcache::model
