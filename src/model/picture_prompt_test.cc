// SPDX-License-Identifier: Apache-2.0
// Text, pictures and text through our runner, against libllama fed by mtmd's helper on the same two files.
#include "model/picture_prompt.h"

#include <gtest/gtest.h>
#include <mtmd-helper.h>
#include <mtmd.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/test_seed.h"
#include "image/testing/encoders.h"
#include "model/libllama.h"
#include "model/runner.h"
#include "model/testing/evaluate.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"
#include "model/vision_encoder.h"

namespace fastcache::model {
namespace {

using image::test_support::random_picture;

// Of the family that has such a projector.
test_support::TinyModel text_model(std::string_view projector) {
  test_support::TinyModel model{.control_tokens = test_support::picture_markers()};
  if (projector == "qwen2vl_merger") {
    model.architecture = "qwen2vl";
    model.qkv_bias = true;
    model.rope_sections = {2, 3, 3, 0};
    model.rms_eps = 0;  // the pinned libllama does not read it for this one
  } else if (projector == "gemma3") {
    model.architecture = "gemma3";
    model.qk_norm = model.post_norms = true;
    model.gate_scale = 1000.0f;  // GELU is x or 0: libllama reads it from a table in between
  }
  return model;
}

// A tiny text model, an encoder for it, and a conversation: texts with pictures between them.
class Conversation {
 public:
  explicit Conversation(const char* projector) {
    test_support::write_tiny_model(folder_.file("text.gguf"), text_model(projector));
    test_support::write_tiny_mmproj(folder_.file("mmproj.gguf"), {.projector = projector});
    model_.emplace(text_path(), 2);
    vocab_.emplace(model_->file);
    encoder_.emplace(mmproj_path(), *vocab_, model_->hparams.n_embd);
  }

  void add_text(const std::string& text) { parts_.push_back({text, {}}); }
  void add_picture(Picture picture) { parts_.push_back({"", std::move(picture)}); }

  // All parts as tokens, and what stands for the pictures' tokens.
  void prepare() {
    std::vector<int32_t> ids = {*vocab_->bos()};
    std::vector<PictureView> views;
    for (const auto& [text, picture] : parts_) {
      if (picture) {
        ids.push_back(kPictureToken);
        views.push_back(view_of(*picture));
      } else {
        const auto part = vocab_->tokenize(text, {.add_special = false, .parse_special = true});
        ids.insert(ids.end(), part.begin(), part.end());
      }
    }
    encoded_ = encoder_->encode(views, model_->compute);
    std::vector<PictureLayout> layouts;
    for (const EncodedPicture& picture : encoded_) layouts.push_back(picture.layout);
    prompt_ = expand_pictures(ids, layouts, encoder_->reading());
    for (size_t i = 0; i < prompt_.tokens.size(); ++i) {
      const int32_t row = prompt_.rows[i];
      const auto image = static_cast<size_t>(prompt_.tokens[i].image);
      embeddings_.push_back(row < 0 ? nullptr
                                    : encoded_[image].embeddings.data() + row * model_->hparams.n_embd);
    }
  }

  // Of every token, in chunks of these sizes.
  std::vector<float> our_logits(const std::vector<int>& chunks, int n_threads) {
    const kv::CacheShape shape = cache_shape(model_->hparams, kv::KvType::f32);
    kv::PagePool pool(
        {.head_dim = model_->hparams.head_dim, .bytes = size_t{16} << 20, .types = {kv::KvType::f32}});
    ComputePool compute(n_threads);
    Runner runner(model_->hparams, *model_->family, pool, compute);
    kv::Sequence sequence(pool, shape);
    std::vector<float> all;
    for (size_t begin = 0, i = 0; begin < prompt_.tokens.size(); ++i) {
      size_t n = std::min(prompt_.tokens.size() - begin,
                          static_cast<size_t>(chunks[std::min(i, chunks.size() - 1)]));
      if (encoder_->reading().both_ways) {
        const int from = static_cast<int>(begin);
        const int end = uncut_end(prompt_, from, from + static_cast<int>(n));
        n = static_cast<size_t>(end - from);
      }
      EXPECT_TRUE(sequence.append(std::span(prompt_.tokens).subspan(begin, n)));
      std::vector<int32_t> rows(n);
      std::iota(rows.begin(), rows.end(), 0);
      const StepSequence step{.sequence = &sequence,
                              .n_new = static_cast<int>(n),
                              .logit_rows = rows,
                              .embeddings = std::span(embeddings_).subspan(begin, n)};
      const auto logits = runner.run(std::span(&step, 1));
      all.insert(all.end(), logits.begin(), logits.end());
      begin += n;
    }
    return all;
  }

  // Of the last token, by libllama and mtmd's helper.
  std::vector<float> their_logits() const {
    start_llama_library();
    mtmd_helper_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    const LlamaModelPtr model(llama_model_load_from_file(text_path().c_str(), llama_model_default_params()));
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.type_k = params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.n_threads = params.n_threads_batch = 1;
    const std::unique_ptr<llama_context, void (*)(llama_context*)> context(
        llama_init_from_model(model.get(), params), llama_free);
    mtmd_context_params vision_params = mtmd_context_params_default();
    vision_params.use_gpu = false;
    vision_params.n_threads = 1;
    vision_params.warmup = false;
    const mtmd::context_ptr vision(mtmd_init_from_file(mmproj_path().c_str(), model.get(), vision_params));
    if (!vision) throw std::runtime_error("libmtmd does not take the files");
    std::string text;
    mtmd::bitmaps bitmaps;
    for (const auto& [words, picture] : parts_) {
      text += picture ? mtmd_default_marker() : words;
      if (picture)
        bitmaps.entries.emplace_back(static_cast<uint32_t>(picture->width),
                                     static_cast<uint32_t>(picture->height), picture->rgb.data());
    }
    const mtmd_input_text input{
        .text = text.c_str(), .text_len = text.size(), .add_special = true, .parse_special = true};
    const mtmd::input_chunks_ptr chunks(mtmd_input_chunks_init());
    auto pointers = bitmaps.c_ptr();
    EXPECT_EQ(mtmd_tokenize(vision.get(), chunks.get(), &input, pointers.data(), pointers.size()), 0);
    EXPECT_EQ(mtmd_helper_get_n_tokens(chunks.get()), prompt_.tokens.size());
    llama_pos n_past = 0;
    EXPECT_EQ(mtmd_helper_eval_chunks(vision.get(), context.get(), chunks.get(), 0, 0, 512, true, &n_past),
              0);
    EXPECT_EQ(n_past, prompt_.next_position);
    const float* logits = llama_get_logits_ith(context.get(), -1);
    return {logits, logits + model_->hparams.n_vocab};
  }

  const PicturePrompt& prompt() const { return prompt_; }
  int n_vocab() const { return model_->hparams.n_vocab; }

 private:
  struct Part {
    std::string text;
    std::optional<Picture> picture;
  };
  std::string text_path() const { return folder_.file("text.gguf"); }
  std::string mmproj_path() const { return folder_.file("mmproj.gguf"); }

  test_support::TemporaryFolder folder_;
  std::optional<test_support::TestModel> model_;
  std::optional<Vocab> vocab_;
  std::optional<VisionEncoder> encoder_;
  std::vector<Part> parts_;
  std::vector<EncodedPicture> encoded_;
  PicturePrompt prompt_;
  std::vector<const float*> embeddings_;
};

void fill(Conversation& conversation, uint64_t seed) {
  conversation.add_text("what is the difference of");
  conversation.add_picture(random_picture(64, 48, seed));
  conversation.add_text("and");
  conversation.add_picture(random_picture(30, 31, seed + 1));
  conversation.add_picture(random_picture(64, 48, seed + 2));
  conversation.add_text("in one word: ");
  conversation.prepare();
}

class LogitsBehindPictures : public testing::TestWithParam<const char*> {};

TEST_P(LogitsBehindPictures, AgreeWithLibllamaAndMtmdHelper) {
  Conversation conversation(GetParam());
  fill(conversation, test_seed());
  const std::vector<float> ours = conversation.our_logits({23, 64}, 1);
  const std::vector<float> theirs = conversation.their_logits();
  const auto last = std::span(ours).last(theirs.size());
  float largest = 0;
  for (size_t i = 0; i < theirs.size(); ++i) largest = std::max(largest, std::abs(last[i] - theirs[i]));
  EXPECT_LE(largest, 1e-4f);
}

TEST_P(LogitsBehindPictures, HaveTheSameBitsInAnyChunks) {
  Conversation conversation(GetParam());
  fill(conversation, test_seed());
  const std::vector<float> whole = conversation.our_logits({512}, 1);
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 3; ++round) {
    std::vector<int> chunks;
    for (int i = 0; i < 60; ++i) chunks.push_back(1 + static_cast<int>(random() % 9));
    EXPECT_EQ(conversation.our_logits(chunks, 1 + round % 2), whole) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LogitsBehindPictures,
                         testing::Values("mlp", "idefics3", "gemma3", "qwen2vl_merger"));

TEST(PictureRows, WithoutEmbeddingsAreRefused) {
  test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("m.gguf"), {});
  test_support::TestModel model(folder.file("m.gguf"));
  kv::PagePool pool({.head_dim = 16, .bytes = size_t{1} << 20, .types = {kv::KvType::f32}});
  Runner runner(model.hparams, *model.family, pool, model.compute);
  kv::Sequence sequence(pool, cache_shape(model.hparams, kv::KvType::f32));
  const kv::Token patch{.image = 0, .patch_row = 0, .patch_col = 0};
  ASSERT_TRUE(sequence.append(std::span(&patch, 1)));
  const StepSequence step{.sequence = &sequence, .n_new = 1, .logit_rows = {}};
  EXPECT_THROW(runner.run(std::span(&step, 1)), Error);
}

TEST(ExpandPictures, TokensKnowTheirPatches) {
  const PictureLayout layout{.chunks = {{.text = {7}, .n_positions = 1},
                                        {.text = {}, .nx = 3, .ny = 2, .n_positions = 6},
                                        {.text = {}, .nx = 3, .ny = 2, .n_positions = 6},
                                        {.text = {8}, .n_positions = 1}}};
  const std::vector<int32_t> ids = {4, kPictureToken, 5, kPictureToken};
  const std::vector<PictureLayout> layouts = {layout, layout};
  const PicturePrompt prompt = expand_pictures(ids, layouts, {});
  ASSERT_EQ(prompt.tokens.size(), 2u + 2u * 14u);
  EXPECT_EQ(prompt.next_position, 30);
  EXPECT_EQ(prompt.tokens[0], kv::text_token(4, 0));
  EXPECT_EQ(prompt.tokens[1], kv::text_token(7, 1));
  EXPECT_EQ(prompt.tokens[6].patch_row, 1);
  EXPECT_EQ(prompt.tokens[6].patch_col, 1);
  EXPECT_EQ(prompt.tokens[8].patch_row, 2);  // the second tile
  EXPECT_EQ(prompt.rows[8], 6);
  EXPECT_EQ(prompt.tokens[8].position[0], 8);
  EXPECT_EQ(prompt.tokens[20].image, 1);
  EXPECT_EQ(prompt.tokens[20].id, -1);
  EXPECT_EQ(prompt.rows[14], -1);
}

TEST(ExpandPictures, StepsCutNoGrid) {
  const PictureLayout layout{.chunks = {{.text = {}, .nx = 2, .ny = 2, .n_positions = 4}}};
  const std::vector<int32_t> ids = {4, kPictureToken, kPictureToken, 5};  // grids at 1 to 4 and 5 to 8
  const std::vector<PictureLayout> layouts = {layout, layout};
  const PicturePrompt prompt = expand_pictures(ids, layouts, {.both_ways = true});
  EXPECT_EQ(prompt.tokens[1].sees_behind, 3);
  EXPECT_EQ(prompt.tokens[4].sees_behind, 0);
  EXPECT_EQ(prompt.tokens[5].sees_behind, 3);
  EXPECT_EQ(prompt.tokens[9].sees_behind, 0);
  EXPECT_EQ(uncut_end(prompt, 3, 4), 5);  // a prefix held its first rows
  EXPECT_EQ(uncut_end(prompt, 0, 1), 1);
  EXPECT_EQ(uncut_end(prompt, 0, 3), 1);
  EXPECT_EQ(uncut_end(prompt, 1, 2), 5);
  EXPECT_EQ(uncut_end(prompt, 1, 7), 5);
  EXPECT_EQ(uncut_end(prompt, 0, 10), 10);
  EXPECT_EQ(uncut_end(prompt, 9, 20), 20);
}

TEST(ExpandPictures, MRopePositionsAreTimeRowAndColumn) {
  const PictureLayout layout{.chunks = {{.text = {}, .nx = 3, .ny = 2, .n_positions = 3}}};
  const std::vector<int32_t> ids = {4, kPictureToken, 5};
  const PicturePrompt prompt = expand_pictures(ids, std::span(&layout, 1), {.mrope = true});
  ASSERT_EQ(prompt.tokens.size(), 8u);
  const std::array<int32_t, 4> last_patch = {1, 2, 3, 0};
  EXPECT_EQ(prompt.tokens[6].position, last_patch);
  EXPECT_EQ(prompt.tokens[7].position[0], 4);
  EXPECT_EQ(prompt.next_position, 5);
}

}  // namespace
}  // namespace fastcache::model
