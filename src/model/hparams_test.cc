// SPDX-License-Identifier: Apache-2.0
#include "model/hparams.h"

#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"
#include "model/models.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::TemporaryFolder;
using ::testing::HasSubstr;

// Metadata only, changed by `edit`: hyperparameters are read without looking at tensors.
GgufFile edited(const TemporaryFolder& folder, const std::function<void(gguf_context*)>& edit) {
  test_support::write_tiny_model(folder.file("m.gguf"), {});
  gguf_context* gguf = gguf_init_from_file(folder.file("m.gguf").c_str(), {.no_alloc = true, .ctx = nullptr});
  gguf_context* out = gguf_init_empty();
  gguf_set_kv(out, gguf);
  edit(out);
  gguf_write_to_file(out, folder.file("e.gguf").c_str(), true);
  gguf_free(out);
  gguf_free(gguf);
  return GgufFile(folder.file("e.gguf"));
}

TEST(HParams, OfTheEmbeddedModel) {
  const HParams h = read_hparams(GgufFile(default_model().string()));
  EXPECT_STREQ(h.architecture->name, "llama");
  EXPECT_EQ(h.n_layers, 30);
  EXPECT_EQ(h.n_embd, 576);
  EXPECT_EQ(h.n_ff, 1536);
  EXPECT_EQ(h.n_heads, 9);
  EXPECT_EQ(h.n_kv_heads, 3);
  EXPECT_EQ(h.head_dim, 64);
  EXPECT_EQ(h.rope_dims, 64);
  EXPECT_EQ(h.n_vocab, 49152);
  EXPECT_EQ(h.context_length, 8192);
  EXPECT_FLOAT_EQ(h.rope_base, 100000.0f);
  EXPECT_FLOAT_EQ(h.rms_eps, 1e-5f);
  EXPECT_FLOAT_EQ(h.attention_scale, 0.125f);
  EXPECT_EQ(h.rope_scaling, RopeScaling::none);
}

TEST(HParams, HeadCountsMayBeArraysIfAllLayersAgree) {
  const TemporaryFolder folder;
  const int32_t same[] = {2, 2}, different[] = {2, 1}, too_few[] = {2, 2, 2};
  const auto set = [&](const int32_t* values, size_t n) {
    return edited(folder, [=](gguf_context* g) {
      gguf_set_arr_data(g, "llama.attention.head_count_kv", GGUF_TYPE_INT32, values, n);
    });
  };
  EXPECT_EQ(read_hparams(set(same, 2)).n_kv_heads, 2);
  EXPECT_THROW(read_hparams(set(different, 2)), Error);
  EXPECT_THROW(read_hparams(set(too_few, 3)), Error);
}

struct Refusal {
  const char* what;
  Code code;
  const char* says;
  std::function<void(gguf_context*)> edit;
};

TEST(HParams, RefusesWhatTheGraphCannotDo) {
  const TemporaryFolder folder;
  const auto u32 = [](const char* key, uint32_t value) {
    return [=](gguf_context* g) { gguf_set_val_u32(g, key, value); };
  };
  const auto f32 = [](const char* key, float value) {
    return [=](gguf_context* g) { gguf_set_val_f32(g, key, value); };
  };
  const auto text = [](const char* key, const char* value) {
    return [=](gguf_context* g) { gguf_set_val_str(g, key, value); };
  };
  const auto removed = [](const char* key) { return [=](gguf_context* g) { gguf_remove_key(g, key); }; };
  const Refusal refusals[] = {
      {"architecture", Code::unsupported, "'gpt2' is not supported; supported: llama",
       text("general.architecture", "gpt2")},
      {"no architecture", Code::invalid_model, "'general.architecture' (a string) is missing",
       removed("general.architecture")},
      {"experts", Code::unsupported, "mixture of 8 experts", u32("llama.expert_count", 8)},
      {"no layers", Code::invalid_model, "'llama.block_count' is 0", u32("llama.block_count", 0)},
      {"too many layers", Code::invalid_model, "'llama.block_count' is 4294967295",
       u32("llama.block_count", ~0u)},
      {"text for a number", Code::invalid_model, "an integer was expected", text("llama.block_count", "2")},
      {"width", Code::unsupported, "multiples of 32", u32("llama.embedding_length", 72)},
      {"no width", Code::invalid_model, "'llama.embedding_length' (an integer) is missing",
       removed("llama.embedding_length")},
      {"ff", Code::unsupported, "multiples of 32", u32("llama.feed_forward_length", 100)},
      {"no heads", Code::invalid_model, "'llama.attention.head_count' is 0",
       u32("llama.attention.head_count", 0)},
      {"uneven heads", Code::invalid_model, "evenly", u32("llama.attention.head_count_kv", 3)},
      {"more KV heads", Code::invalid_model, "evenly", u32("llama.attention.head_count_kv", 8)},
      {"value size", Code::unsupported, "only equal sizes", u32("llama.attention.value_length", 32)},
      {"head size", Code::unsupported, "multiples of 16",
       [](gguf_context* g) {
         gguf_set_val_u32(g, "llama.attention.key_length", 24);
         gguf_set_val_u32(g, "llama.attention.value_length", 24);
       }},
      {"odd rope", Code::invalid_model, "even number", u32("llama.rope.dimension_count", 15)},
      {"large rope", Code::invalid_model, "even number up to 16", u32("llama.rope.dimension_count", 32)},
      {"rope base", Code::invalid_model, "above 1", f32("llama.rope.freq_base", -1)},
      {"rope base", Code::invalid_model, "finite", f32("llama.rope.freq_base", NAN)},
      {"rope scaling", Code::unsupported, "'longrope' is not supported",
       text("llama.rope.scaling.type", "longrope")},
      {"rope factor", Code::invalid_model, "positive", f32("llama.rope.scaling.factor", -4)},
      {"epsilon", Code::invalid_model, "from 0 to 1", f32("llama.attention.layer_norm_rms_epsilon", 2)},
      {"context", Code::invalid_model, "'llama.context_length' is 0", u32("llama.context_length", 0)},
      {"encoder", Code::unsupported, "causal",
       [](gguf_context* g) { gguf_set_val_bool(g, "llama.attention.causal", false); }},
      {"vocabulary", Code::invalid_model, "'llama.vocab_size'", removed("tokenizer.ggml.tokens")},
  };
  for (const Refusal& refusal : refusals) {
    const GgufFile file = edited(folder, refusal.edit);
    try {
      read_hparams(file);
      ADD_FAILURE() << refusal.what;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), refusal.code) << refusal.what;
      EXPECT_THAT(error.what(), HasSubstr(refusal.says));
      EXPECT_THAT(error.what(), HasSubstr("e.gguf"));
    }
  }
}

// That the angles are those of libllama is proved by the logits; here: the plain formula, and what scaling
// does at the ends.
TEST(Rope, Frequencies) {
  HParams h;
  h.architecture = &architectures().front();
  h.rope_dims = 64;
  h.rope_base = 10000;
  h.context_length = h.rope_original_context = 4096;
  const auto plain = make_rope(h, {});
  ASSERT_EQ(plain.inverse_frequency.size(), 32u);
  EXPECT_EQ(plain.magnitude, 1.0f);
  EXPECT_EQ(plain.inverse_frequency[0], 1.0f);
  EXPECT_FLOAT_EQ(plain.inverse_frequency[16], 0.01f);

  h.rope_scaling = RopeScaling::linear;
  h.rope_factor = 4;
  EXPECT_FLOAT_EQ(make_rope(h, {}).inverse_frequency[16], 0.0025f);

  h.rope_scaling = RopeScaling::yarn;
  const auto yarn = make_rope(h, {});
  EXPECT_EQ(yarn.inverse_frequency[0], 1.0f);  // fast: kept
  EXPECT_FLOAT_EQ(yarn.inverse_frequency[31], plain.inverse_frequency[31] / 4);
  EXPECT_FLOAT_EQ(yarn.magnitude, 1.0f + 0.1f * std::log(4.0f));

  h.rope_scaling = RopeScaling::none;
  h.rope_factor = 1;
  const std::vector<float> factors(32, 8.0f);
  EXPECT_FLOAT_EQ(make_rope(h, factors).inverse_frequency[16], 0.00125f);
}

}  // namespace
}  // namespace fastcache::model
