// SPDX-License-Identifier: Apache-2.0
// Steps with an adapter: against libllama on tiny random models and adapters; and that rows which are not
// adapted keep every bit, whatever stands beside them in the batch.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "model/runner.h"
#include "model/testing/compare.h"
#include "model/testing/evaluate.h"
#include "model/testing/llama_oracle.h"
#include "model/testing/tiny_adapter.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::largest_difference;
using test_support::skip_unless_isa_is_there;
using test_support::TestModel;
using test_support::TinyAdapter;
using test_support::TinyModel;

std::vector<int32_t> random_tokens(int n, int n_vocab, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<int32_t> token(3, n_vocab - 1);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& id : tokens) id = token(random);
  return tokens;
}

// Gates so large that GELU is x or 0: libllama reads it from a table of half precision in between.
TinyModel tiny_gemma3() {
  TinyModel m{.n_layers = 3, .sliding_window = 40, .window_pattern = 2, .architecture = "gemma3"};
  m.qk_norm = m.post_norms = true;
  m.gate_scale = 1000.0f;
  return m;
}

struct OracleCase {
  TinyModel model;
  TinyAdapter adapter;
};

const std::map<std::string, OracleCase>& oracle_cases() {
  static const std::map<std::string, OracleCase> cases{
      {"all_matrices", {{}, {}}},
      {"attention_only", {{}, {.rank = 16, .parts = {"attn_q", "attn_k", "attn_v", "attn_output"}}}},
      {"some_of_a_stack", {{}, {.rank = 3, .parts = {"attn_k", "ffn_up"}}}},
      {"ffn_only", {{.tied = false}, {.rank = 1, .alpha = 2.0f, .parts = {"ffn_gate", "ffn_down"}}}},
      {"no_alpha", {{}, {.rank = 17, .alpha = {}}}},
      {"alpha_of_0", {{}, {.alpha = 0.0f}}},
      {"qwen2", {{.qkv_bias = true, .architecture = "qwen2"}, {}}},
      {"qwen3", {{.n_embd = 96, .head_dim = 32, .qk_norm = true, .architecture = "qwen3"}, {}}},
      {"qwen2vl",  // the pinned libllama does not read epsilon for this one: it takes 0
       {{.qkv_bias = true, .rope_sections = {2, 3, 3, 0}, .rms_eps = 0, .architecture = "qwen2vl"}, {}}},
      // ffn_gate's share would have to reach over thousands to move a gate that stands open or shut.
      {"gemma3",
       {tiny_gemma3(), {.parts = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"}}}},
  };
  return cases;
}

class LoraOracle : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { skip_unless_isa_is_there(); }
};

TEST_P(LoraOracle, LogitsAgreeWithLibllama) {
  const OracleCase& of = oracle_cases().at(GetParam());
  const test_support::TemporaryFolder folder;
  const std::string path = folder.file("tiny.gguf"), lora_path = folder.file("adapter.gguf");
  test_support::write_tiny_model(path, of.model);
  test_support::write_tiny_adapter(lora_path, of.model, of.adapter);
  TestModel model(path);
  const LoraAdapter lora(lora_path, model.hparams);
  const auto tokens = random_tokens(150, model.hparams.n_vocab, 1);
  test_support::LlamaOracle oracle(path, {.n_ctx = 256, .n_threads = 1, .lora = lora_path});
  const std::vector<float> expected = oracle.logits(tokens);
  const auto ours = [&](bool adapted) {
    return test_support::logits_of(
        model, tokens,
        {.kv_type = kv::KvType::f32, .n_threads = 1, .chunks = {37, 128}, .lora = &lora, .adapted = adapted});
  };
  EXPECT_LE(largest_difference(ours(true), expected), 1e-4f);
  EXPECT_GT(largest_difference(ours(false), expected), 0.05f) << "the adapter changes nothing: no test";
}

std::vector<std::string> case_names() {
  std::vector<std::string> names;
  for (const auto& [name, of] : oracle_cases()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, LoraOracle, testing::ValuesIn(case_names()),
                         [](const auto& info) { return info.param; });

struct BitCase {
  const char* name;
  ggml_type weights;
  kv::KvType kv_type;
  TinyModel model;
};

class LoraBits : public testing::TestWithParam<BitCase> {
 protected:
  void SetUp() override {
    skip_unless_isa_is_there();
    if (IsSkipped()) return;
    TinyModel tiny = GetParam().model;
    tiny.type = GetParam().weights;
    tiny.embedding_type = GGML_TYPE_Q8_0;
    test_support::write_tiny_model(folder_.file("tiny.gguf"), tiny);
    test_support::write_tiny_adapter(folder_.file("adapter.gguf"), tiny, {.rank = 5, .type = GGML_TYPE_F16});
    model_ = std::make_unique<TestModel>(folder_.file("tiny.gguf"));
    lora_ = std::make_unique<LoraAdapter>(folder_.file("adapter.gguf"), model_->hparams);
  }

  std::vector<float> logits(std::span<const int32_t> tokens, std::vector<int> chunks, int n_threads,
                            const LoraAdapter* lora, bool adapted) {
    return test_support::logits_of(*model_, tokens,
                                   {.kv_type = GetParam().kv_type,
                                    .n_threads = n_threads,
                                    .chunks = std::move(chunks),
                                    .lora = lora,
                                    .adapted = adapted});
  }

  test_support::TemporaryFolder folder_;
  std::unique_ptr<TestModel> model_;
  std::unique_ptr<LoraAdapter> lora_;
};

TEST_P(LoraBits, AnyChunkingAndThreadCount) {
  const auto tokens = random_tokens(100, model_->hparams.n_vocab, 2);
  const std::vector<float> whole = logits(tokens, {100}, 1, lora_.get(), true);
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 2; ++round) {
    std::vector<int> chunks;
    for (int i = 0; i < 8; ++i) chunks.push_back(1 + static_cast<int>(random() % (round == 0 ? 9 : 100)));
    chunks.push_back(100);
    EXPECT_EQ(logits(tokens, chunks, 1 + round, lora_.get(), true), whole)
        << "round " << round << " seed " << test_seed();
  }
}

TEST_P(LoraBits, RowsThatAreNotAdaptedAreThoseOfNoAdapter) {
  const auto tokens = random_tokens(100, model_->hparams.n_vocab, 3);
  EXPECT_EQ(logits(tokens, {60, 40}, 2, lora_.get(), false), logits(tokens, {100}, 1, nullptr, false));
}

// Adapted and plain texts together, in steps of random sizes, against each alone: plain ones without any
// adapter.
TEST_P(LoraBits, AnyCompanionsInTheBatch) {
  const size_t n_vocab = static_cast<size_t>(model_->hparams.n_vocab);
  std::mt19937 random(static_cast<uint32_t>(test_seed()));
  const std::vector<bool> adapts{true, false, true, false, false};
  std::vector<std::vector<int32_t>> texts;
  std::vector<std::vector<float>> alone;
  for (size_t s = 0; s < adapts.size(); ++s) {
    texts.push_back(random_tokens(30 + static_cast<int>(random() % 100), model_->hparams.n_vocab, 10 + s));
    alone.push_back(logits(texts[s], {512}, 1, adapts[s] ? lora_.get() : nullptr, adapts[s]));
  }
  test_support::evaluate_together(
      *model_, texts,
      {.kv_type = GetParam().kv_type, .n_threads = 1, .lora = lora_.get(), .adapts_text = adapts}, random,
      [&](int s, int position, std::span<const float> logits) {
        const std::span expected = std::span(alone[static_cast<size_t>(s)])
                                       .subspan(static_cast<size_t>(position) * n_vocab, n_vocab);
        EXPECT_TRUE(std::ranges::equal(logits, expected))
            << "text " << s << ", position " << position << ", seed " << test_seed();
      });
}

std::vector<BitCase> bit_cases() {
  const TinyModel small{.n_embd = 192, .n_ff = 256, .n_heads = 3, .n_kv_heads = 1, .head_dim = 64};
  TinyModel windows = tiny_gemma3(), qwen2 = small;
  windows.head_dim = 64;
  qwen2.architecture = "qwen2";
  qwen2.qkv_bias = true;
  return {{"llama_q4_1", GGML_TYPE_Q4_1, kv::KvType::bf16, small},
          {"llama_bf16", GGML_TYPE_BF16, kv::KvType::bf16, small},
          {"qwen2_f32", GGML_TYPE_F32, kv::KvType::f32, qwen2},
          {"gemma3_q8_0", GGML_TYPE_Q8_0, kv::KvType::int8, windows}};
}

INSTANTIATE_TEST_SUITE_P(All, LoraBits, testing::ValuesIn(bit_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(LoraStep, AdaptedRowsWithoutAnAdapterAreRefused) {
  skip_unless_isa_is_there();
  if (testing::Test::IsSkipped()) return;
  const test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("tiny.gguf"), {});
  TestModel model(folder.file("tiny.gguf"));
  EXPECT_THROW(test_support::logits_of(model, random_tokens(5, 300, 1), {.adapted = true}), Error);
}

}  // namespace
}  // namespace fastcache::model
