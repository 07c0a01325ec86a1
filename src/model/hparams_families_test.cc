// SPDX-License-Identifier: Apache-2.0
#include <gguf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"
#include "model/family.h"
#include "model/hparams.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using test_support::TemporaryFolder;
using test_support::TinyModel;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Edit = std::function<void(gguf_context*)>;

GgufFile edited(const TemporaryFolder& folder, const TinyModel& model, const Edit& edit) {
  test_support::write_tiny_model(folder.file("m.gguf"), model);
  gguf_context* gguf = gguf_init_from_file(folder.file("m.gguf").c_str(), {.no_alloc = true, .ctx = nullptr});
  gguf_context* out = gguf_init_empty();
  gguf_set_kv(out, gguf);
  edit(out);
  gguf_write_to_file(out, folder.file("e.gguf").c_str(), true);
  gguf_free(out);
  gguf_free(gguf);
  return GgufFile(folder.file("e.gguf"));
}

const TinyModel kGemma3{
    .n_layers = 7, .qk_norm = true, .post_norms = true, .sliding_window = 40, .architecture = "gemma3"};
const TinyModel kQwen2Vl{.qkv_bias = true, .rope_sections = {2, 3, 3, 0}, .architecture = "qwen2vl"};

TEST(Gemma3HParams, LocalLayers) {
  const TemporaryFolder folder;
  const HParams plain = read_hparams(edited(folder, kGemma3, [](gguf_context*) {}));
  EXPECT_THAT(plain.local_layers, ElementsAre(true, true, true, true, true, false, true));
  EXPECT_EQ(plain.sliding_window, 40);
  EXPECT_FLOAT_EQ(plain.local_rope_base, 10000.0f);
  EXPECT_FLOAT_EQ(plain.embedding_scale, 8.0f);
  EXPECT_FLOAT_EQ(plain.attention_scale, 0.25f);

  const bool flags[] = {false, true, true, false, false, false, true};
  const HParams listed = read_hparams(edited(folder, kGemma3, [&](gguf_context* g) {
    gguf_set_arr_data(g, "gemma3.attention.sliding_window_pattern", GGUF_TYPE_BOOL, flags, 7);
  }));
  EXPECT_THAT(listed.local_layers, ElementsAre(false, true, true, false, false, false, true));

  const HParams none = read_hparams(edited(
      folder, kGemma3, [](gguf_context* g) { gguf_remove_key(g, "gemma3.attention.sliding_window"); }));
  EXPECT_FALSE(none.has_local_layers());
  EXPECT_FALSE(none.is_local(0));
}

// The largest model has its queries' scale from its width.
TEST(Gemma3HParams, ScaleOfTheLargest) {
  const TemporaryFolder folder;
  const HParams h = read_hparams(
      edited(folder, kGemma3, [](gguf_context* g) { gguf_set_val_u32(g, "gemma3.block_count", 62); }));
  EXPECT_FLOAT_EQ(h.attention_scale, 1.0f / std::sqrt(64.0f / 4.0f));
}

TEST(Gemma3HParams, AnglesOfLocalLayersAreNotScaled) {
  const TemporaryFolder folder;
  const HParams h = read_hparams(edited(folder, kGemma3, [](gguf_context* g) {
    gguf_set_val_str(g, "gemma3.rope.scaling.type", "linear");
    gguf_set_val_f32(g, "gemma3.rope.scaling.factor", 8.0f);
    gguf_set_val_f32(g, "gemma3.rope.freq_base", 1e6f);
  }));
  EXPECT_FLOAT_EQ(make_rope(h, {}).inverse_frequency[0], 1.0f / 8);
  EXPECT_FLOAT_EQ(make_rope(h, {}).inverse_frequency[4], 1e-3f / 8);
  EXPECT_FLOAT_EQ(make_local_rope(h).inverse_frequency[0], 1.0f);
  EXPECT_FLOAT_EQ(make_local_rope(h).inverse_frequency[4], 1e-2f);
}

TEST(Qwen2VlHParams, Sections) {
  const TemporaryFolder folder;
  const HParams h = read_hparams(edited(folder, kQwen2Vl, [](gguf_context*) {}));
  EXPECT_THAT(h.rope_sections, ElementsAre(2, 3, 3, 0));
  EXPECT_THAT(make_rope(h, {}).section, ElementsAre(0, 0, 1, 1, 1, 2, 2, 2));
}

struct Refusal {
  const TinyModel& model;
  Code code;
  const char* says;
  Edit edit;
};

TEST(FamilyHParams, RefusesWhatTheGraphsCannotDo) {
  const TemporaryFolder folder;
  const auto sections = [](std::vector<int32_t> values) {
    return [=](gguf_context* g) {
      gguf_set_arr_data(g, "qwen2vl.rope.dimension_sections", GGUF_TYPE_INT32, values.data(), values.size());
    };
  };
  const auto text = [](const char* key, const char* value) {
    return [=](gguf_context* g) { gguf_set_val_str(g, key, value); };
  };
  const auto f32 = [](const char* key, float value) {
    return [=](gguf_context* g) { gguf_set_val_f32(g, key, value); };
  };
  const Refusal refusals[] = {
      {kGemma3, Code::unsupported, "'qwen2moe' is not supported; supported: llama",
       text("general.architecture", "qwen2moe")},
      {kGemma3, Code::unsupported, "'gemma3n' is not supported", text("general.architecture", "gemma3n")},
      {kGemma3, Code::unsupported, "'gemma3.attn_logit_softcapping' is set",
       f32("gemma3.attn_logit_softcapping", 50.0f)},
      {kGemma3, Code::unsupported, "'gemma3.final_logit_softcapping' is set",
       f32("gemma3.final_logit_softcapping", 30.0f)},
      {kGemma3, Code::unsupported, "YaRN", text("gemma3.rope.scaling.type", "yarn")},
      {kGemma3, Code::unsupported, "'longrope' is not supported",
       text("gemma3.rope.scaling.type", "longrope")},
      {kGemma3, Code::invalid_model, "'gemma3.rope.freq_base_swa' is 0", f32("gemma3.rope.freq_base_swa", 0)},
      {kGemma3, Code::invalid_model, "has 3 values; 1 or one for each of 7 layers",
       [](gguf_context* g) {
         const int32_t values[] = {1, 1, 0};
         gguf_set_arr_data(g, "gemma3.attention.sliding_window_pattern", GGUF_TYPE_INT32, values, 3);
       }},
      {kQwen2Vl, Code::invalid_model, "has 2 values; 3 or 4", sections({4, 4})},
      {kQwen2Vl, Code::invalid_model, "have 7 pairs of channels; 8 were expected", sections({2, 2, 3})},
      {kQwen2Vl, Code::invalid_model, "a value from 0", sections({2, -2, 8})},
      {kQwen2Vl, Code::unsupported, "a fourth section", sections({2, 2, 2, 2})},
      {kQwen2Vl, Code::invalid_model, "has 0 values",
       [](gguf_context* g) { gguf_remove_key(g, "qwen2vl.rope.dimension_sections"); }},
  };
  for (const Refusal& refusal : refusals) {
    const GgufFile file = edited(folder, refusal.model, refusal.edit);
    try {
      read_hparams(file);
      ADD_FAILURE() << refusal.says;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), refusal.code) << refusal.says;
      EXPECT_THAT(error.what(), HasSubstr(refusal.says));
    }
  }
}

// Tensors that a family's graph does not use, or lacks, are named.
TEST(Families, NameTheTensorThatIsMissingOrTooMany) {
  const TemporaryFolder folder;
  ComputePool pool(1);
  const auto reason = [&](TinyModel model) -> std::string {
    test_support::write_tiny_model(folder.file("m.gguf"), model);
    const GgufFile file(folder.file("m.gguf"));
    const HParams hparams = read_hparams(file);
    try {
      load_family(file, hparams, pool);
    } catch (const Error& error) {
      return error.what();
    }
    return "it was loaded";
  };
  EXPECT_THAT(reason({.architecture = "qwen3"}), HasSubstr("'blk.0.attn_q_norm.weight' [16] is missing"));
  EXPECT_THAT(reason({.qk_norm = true, .architecture = "gemma3"}),
              HasSubstr("'blk.0.post_attention_norm.weight' [64] is missing"));
  EXPECT_THAT(reason({.qk_norm = true, .architecture = "qwen2"}), HasSubstr("attn_q_norm.weight"));
  EXPECT_THAT(reason({.llama3_rope = true, .architecture = "qwen2"}), HasSubstr("rope_freqs.weight"));
  EXPECT_THAT(reason({.qkv_bias = true}), HasSubstr("attn_k.bias"));
  EXPECT_EQ(reason({.architecture = "qwen2"}), "it was loaded");  // biases may be left out
}

}  // namespace
}  // namespace fastcache::model
