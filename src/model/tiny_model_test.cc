// SPDX-License-Identifier: Apache-2.0
// The test support itself: what write_tiny_model writes is what libllama and our own reader take.
#include "model/testing/tiny_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <numeric>

#include "model/hparams.h"
#include "model/models.h"
#include "model/testing/llama_oracle.h"
#include "model/vocab.h"

namespace fastcache::model::test_support {
namespace {

std::vector<int32_t> some_tokens(int n) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int i = 0; i < n; ++i) tokens[static_cast<size_t>(i)] = (i * 37 + 11) % 300;
  return tokens;
}

TEST(TinyModel, EveryVariantLoadsHereAndInLibllama) {
  const TemporaryFolder folder;
  const std::vector<TinyModel> variants = {
      {},
      {.tied = false, .qkv_bias = true},
      {.n_heads = 4, .n_kv_heads = 1, .head_dim = 64, .llama3_rope = true},
      {.head_dim = 128, .rope_scaling = "linear", .rope_factor = 4},
      {.head_dim = 32, .rope_scaling = "yarn", .rope_factor = 4, .rope_original_context = 1024},
      {.n_embd = 256,
       .n_ff = 512,
       .n_kv_heads = 4,
       .head_dim = 64,
       .type = GGML_TYPE_Q4_K,
       .embedding_type = GGML_TYPE_Q8_0},
      {.type = GGML_TYPE_Q4_1},
      {.type = GGML_TYPE_F16},
      {.type = GGML_TYPE_BF16},
  };
  for (const TinyModel& variant : variants) {
    write_tiny_model(folder.file("m.gguf"), variant);
    const GgufFile file(folder.file("m.gguf"));
    const HParams hparams = read_hparams(file);
    EXPECT_EQ(hparams.head_dim, variant.head_dim);
    EXPECT_EQ(hparams.n_vocab, 320);
    LlamaOracle oracle(folder.file("m.gguf"), {.n_ctx = 64, .n_threads = 1, .chunk = 16});
    const std::vector<float> logits = oracle.logits(some_tokens(40));
    ASSERT_EQ(logits.size(), 40u * 320u);
    const double sum = std::transform_reduce(logits.begin(), logits.end(), 0.0, std::plus<>(),
                                             [](float x) { return double{x} * x; });
    EXPECT_NEAR(std::sqrt(sum / static_cast<double>(logits.size())), 2.0, 0.7);
  }
}

TEST(TinyModel, TakesTheVocabularyOfAnother) {
  const TemporaryFolder folder;
  write_tiny_model(folder.file("m.gguf"), {.n_layers = 1, .vocab_from = default_model().string()});
  const GgufFile file(folder.file("m.gguf"));
  EXPECT_EQ(read_hparams(file).n_vocab, 49152);
  EXPECT_EQ(Vocab(file).piece(2, true), "<|im_end|>");
}

TEST(TinyModel, SyntheticVocabularyKeepsText) {
  const TemporaryFolder folder;
  write_tiny_model(folder.file("m.gguf"), {});
  const Vocab vocab{GgufFile(folder.file("m.gguf"))};
  EXPECT_TRUE(vocab.adds_bos());
  const auto tokens = vocab.tokenize("abc \xC3\xA4!", {.add_special = true});
  EXPECT_EQ(tokens.front(), 1);
  EXPECT_EQ(vocab.detokenize(tokens), " abc \xC3\xA4!");  // SentencePiece puts a space in front
}

TEST(TinyModel, DequantisedModelIsTheSameModel) {
  const TemporaryFolder folder;
  write_tiny_model(folder.file("q.gguf"), {.type = GGML_TYPE_F16, .tied = false});
  dequantise_to_f32(folder.file("q.gguf"), folder.file("f.gguf"));
  const GgufFile file(folder.file("f.gguf"));
  for (const GgufTensor& tensor : file.index().tensors) EXPECT_EQ(tensor.type, GGML_TYPE_F32) << tensor.name;
  const auto a = LlamaOracle(folder.file("q.gguf"), {.n_ctx = 64, .n_threads = 1}).logits(some_tokens(30));
  const auto b = LlamaOracle(folder.file("f.gguf"), {.n_ctx = 64, .n_threads = 1}).logits(some_tokens(30));
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  EXPECT_LT(worst, 0.05);  // libllama rounds activations to f16 for f16 weights
  EXPECT_GT(worst, 0.0);
}

}  // namespace
}  // namespace fastcache::model::test_support
