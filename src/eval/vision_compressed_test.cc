// SPDX-License-Identifier: Apache-2.0
// Presses on the rows of pictures, with a tiny model that sees.
#include "eval/vision_compressed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "base/error.h"
#include "eval/testing/vision_files.h"
#include "eval/vision_engine.h"
#include "eval/vision_figures.h"
#include "eval/vision_loaders.h"
#include "model/testing/tiny_adapter.h"

namespace fastcache::eval {
namespace {

using ::testing::HasSubstr;

class VisionCompressed : public ::testing::Test {
 protected:
  VisionCompressed() {
    result_.questions = load_question_lines(files_.write_grid("grid", 3, 10));
    result_.options.presses = {"snapkv(window=8)"};
    result_.options.removed = {0.5, 0.75};
  }
  void run(const AskOptions& ask = {.answer_tokens = 8}, int chunk_tokens = 512) {
    ComputePool threads(1);
    const model::LoadedModel model(files_.model(), threads);
    model::VisionEncoder vision(files_.mmproj(), model.vocab, model.hparams.n_embd);
    std::optional<model::LoraAdapter> lora;
    if (!lora_.empty()) lora.emplace(lora_, model.hparams);
    ask_compressed({.model = model,
                    .vision = vision,
                    .threads = threads,
                    .lora = lora ? &*lora : nullptr,
                    .kv_type = kv::KvType::f32,
                    .chunk_tokens = chunk_tokens},
                   ask, result_);
  }

  test_support::VisionFiles files_;
  VisionResult result_;
  std::string lora_;
};

TEST_F(VisionCompressed, UncompressedAnswersAreTheEngines) {
  Engine engine({.model = files_.model(),
                 .pool_bytes = size_t{16} << 20,
                 .kv_type = "f32",
                 .threads = 1,
                 .mmproj = files_.mmproj()});
  result_.questions.resize(12);
  result_.options.removed = {0.5};
  const auto through_engine = ask_engine(engine, result_.questions, {.answer_tokens = 8});
  for (const int chunk_tokens : {512, 23}) {
    run({.answer_tokens = 8}, chunk_tokens);
    for (size_t i = 0; i < through_engine.size(); ++i) {
      ASSERT_EQ(through_engine[i].error, "");
      EXPECT_EQ(result_.answers[i].text, through_engine[i].text) << i;
    }
    result_.presses.clear();
    result_.full_bytes.clear();
  }
}

TEST_F(VisionCompressed, AnAdapterIsAppliedAsTheEngineDoes) {
  result_.questions.resize(3);
  result_.options.removed = {0.5};
  run();
  const std::string without = result_.answers[0].text;
  lora_ = files_.path("adapter.gguf");
  model::test_support::write_tiny_adapter(lora_, {.context_length = 2048}, {});
  result_.presses.clear();
  result_.full_bytes.clear();
  run();
  EXPECT_NE(result_.answers[0].text, without);
  Engine engine({.model = files_.model(),
                 .pool_bytes = size_t{16} << 20,
                 .kv_type = "f32",
                 .threads = 1,
                 .mmproj = files_.mmproj(),
                 .lora = lora_});
  const auto through_engine = ask_engine(engine, result_.questions, {.answer_tokens = 8});
  for (size_t i = 0; i < through_engine.size(); ++i)
    EXPECT_EQ(result_.answers[i].text, through_engine[i].text) << through_engine[i].error;
}

TEST_F(VisionCompressed, PressesAreMeasuredAtEqualBytes) {
  run();
  ASSERT_EQ(result_.presses.size(), 6u);  // random, streaming_llm and the one that was named, twice
  EXPECT_EQ(result_.full_bytes.size(), 30u);
  for (size_t i = 0; i < result_.presses.size(); ++i) {
    const VisionPressRow& row = result_.presses[i];
    EXPECT_EQ(row.removed, i < 3 ? 0.5 : 0.75);
    EXPECT_EQ(row.scores.size(), 30u);
    EXPECT_GT(row.resident.tokens, 0);
    EXPECT_EQ(row.resident.tokens, row.resident.tokens_on_compressed);  // the first token too
    EXPECT_EQ(row.resident.bytes, result_.presses[i / 3 * 3].resident.bytes);
    const VisionPressFigures figures = vision_press_figures(result_, row);
    EXPECT_TRUE(figures.resident.valid);
    EXPECT_NEAR(figures.resident.of_full, 1 - row.removed, 0.1);
  }
}

TEST_F(VisionCompressed, WhatCannotBeAskedIsLeftOut) {
  files_.write("grid/pictures/1.png", "no picture at all");
  result_.questions[29].question = std::string(5000, 'x');
  run();
  EXPECT_THAT(result_.answers[10].error, HasSubstr("pictures/1.png"));
  EXPECT_THAT(result_.answers[20].error, HasSubstr("context holds 2048"));  // all of one picture
  EXPECT_EQ(result_.presses[0].scores.size(), 10u);
  EXPECT_EQ(vision_figures(result_).n_failed, 20);
}

TEST_F(VisionCompressed, StoppedItKeepsWholePictures) {
  int calls = 0;
  run({.answer_tokens = 4, .progress = [&](int done, int, const std::string&) {
         ++calls;
         return done < 10 || calls < 11;  // in the middle of the second picture's presses
       }});
  EXPECT_EQ(vision_figures(result_).all.n, 10);
  EXPECT_EQ(vision_figures(result_).n_left, 20);
  for (const VisionPressRow& row : result_.presses) EXPECT_EQ(row.scores.size(), 10u);
  EXPECT_EQ(result_.full_bytes.size(), 10u);
}

TEST_F(VisionCompressed, PressesThatAreNoneAreRefused) {
  for (const char* press : {"snapkw", "decoding(knorm, every=64)"}) {
    result_.options.presses = {press};
    EXPECT_THROW(run(), Error) << press;
  }
}

}  // namespace
}  // namespace fastcache::eval
