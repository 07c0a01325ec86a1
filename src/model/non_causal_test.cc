// SPDX-License-Identifier: Apache-2.0
// Tokens that see others behind them, as those of a picture in Gemma 3: against libllama, and with M-RoPE's
// positions against plain attention's in a chunk of any size.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::TestModel;
using test_support::TinyModel;

constexpr int kTokens = 150, kBegin = 60, kEnd = 100;

std::vector<kv::Token> tokens_with_span() {
  std::vector<kv::Token> tokens;
  for (int i = 0; i < kTokens; ++i) {
    tokens.push_back(kv::text_token(3 + (i * 37 + i / 9) % 300, i));
    if (i >= kBegin && i < kEnd) tokens.back().sees_behind = kEnd - 1 - i;
  }
  return tokens;
}

std::vector<int32_t> ids_of(const std::vector<kv::Token>& tokens) {
  std::vector<int32_t> ids;
  for (const kv::Token& token : tokens) ids.push_back(token.id);
  return ids;
}

// steps: where each ends.
std::vector<float> logits(TestModel& model, std::span<const kv::Token> tokens, std::vector<int> steps) {
  kv::PagePool pool(
      {.head_dim = model.hparams.head_dim, .bytes = size_t{8} << 20, .types = {kv::KvType::f32}});
  Runner runner(model.hparams, *model.family, pool, model.compute);
  kv::Sequence sequence(pool, cache_shape(model.hparams, kv::KvType::f32));
  std::vector<float> all;
  int begin = 0;
  for (const int end : steps) {
    if (!sequence.append(tokens.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))))
      throw std::runtime_error("the pool of the test is too small");
    std::vector<int32_t> rows(static_cast<size_t>(end - begin));
    std::iota(rows.begin(), rows.end(), 0);
    const StepSequence step{.sequence = &sequence, .n_new = end - begin, .logit_rows = rows};
    const std::span<const float> part = runner.run(std::span(&step, 1));
    all.insert(all.end(), part.begin(), part.end());
    begin = end;
  }
  return all;
}

TEST(NonCausal, LogitsAgreeWithLibllama) {
  TinyModel windows{.n_layers = 4,
                    .qk_norm = true,
                    .post_norms = true,
                    .gate_scale = 1000.0f,
                    .sliding_window = 25,
                    .window_pattern = 2,
                    .architecture = "gemma3"};
  for (const TinyModel& tiny : {TinyModel{}, windows}) {
    const test_support::TemporaryFolder folder;
    test_support::write_tiny_model(folder.file("tiny.gguf"), tiny);
    TestModel model(folder.file("tiny.gguf"));
    const std::vector<kv::Token> tokens = tokens_with_span();
    test_support::LlamaOracle oracle(folder.file("tiny.gguf"), {.n_ctx = 256});
    const std::vector<float> expected = oracle.logits_with_span(ids_of(tokens), kBegin, kEnd);
    const std::vector<float> causal = oracle.logits(ids_of(tokens));
    const std::vector<float> ours = logits(model, tokens, {kTokens});
    ASSERT_EQ(ours.size(), expected.size());
    float largest = 0, without = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      largest = std::max(largest, std::abs(ours[i] - expected[i]));
      without = std::max(without, std::abs(causal[i] - expected[i]));
    }
    EXPECT_LE(largest, 1e-4f) << tiny.architecture;
    EXPECT_GT(without, 0.1f) << "the span does not matter";
    // Steps of other sizes, as long as the span is in one.
    for (const auto& steps :
         std::vector<std::vector<int>>{{7, kBegin, kEnd, kTokens}, {41, 120, 121, kTokens}})
      EXPECT_EQ(logits(model, tokens, steps), ours);
  }
}

TEST(NonCausal, AStepThatEndsWithinASpanIsRefused) {
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("tiny.gguf"), {});
  TestModel model(folder.file("tiny.gguf"));
  EXPECT_THROW(logits(model, tokens_with_span(), {kBegin + 5, kTokens}), Error);
}

// Time, row and column of a picture turn different channels; for text all agree with one position.
TEST(MRope, PositionsOfATokenTurnTheirOwnSections) {
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(
      folder.file("tiny.gguf"), {.qkv_bias = true, .rope_sections = {2, 3, 3, 0}, .architecture = "qwen2vl"});
  TestModel model(folder.file("tiny.gguf"));
  std::vector<kv::Token> tokens = tokens_with_span();
  for (kv::Token& token : tokens) token.sees_behind = 0;
  const std::vector<float> text = logits(model, tokens, {kTokens});
  for (int i = kBegin; i < kEnd; ++i) {  // a picture of 5 x 8
    const int at = i - kBegin;
    tokens[static_cast<size_t>(i)].position = {kBegin, kBegin + at / 8, kBegin + at % 8, 0};
  }
  for (int i = kEnd; i < kTokens; ++i)
    tokens[static_cast<size_t>(i)] = kv::text_token(tokens[i].id, kBegin + 8 + i - kEnd);
  const std::vector<float> picture = logits(model, tokens, {kTokens});
  const auto row = [&](const std::vector<float>& all, int i) {
    const size_t n = static_cast<size_t>(model.hparams.n_vocab);
    return std::span(all).subspan(static_cast<size_t>(i) * n, n);
  };
  EXPECT_TRUE(std::ranges::equal(row(picture, kBegin), row(text, kBegin)));  // (60, 60, 60), as in the text
  EXPECT_FALSE(std::ranges::equal(row(picture, kBegin + 1), row(text, kBegin + 1)));
  EXPECT_EQ(logits(model, tokens, {30, kBegin + 3, kEnd, kTokens}), picture);
}

}  // namespace
}  // namespace fastcache::model
