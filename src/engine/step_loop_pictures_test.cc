// SPDX-License-Identifier: Apache-2.0
// Prompts with pictures in a scarce pool, replayed, forked and compressed: without threads, step by step.
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"
#include "image/testing/encoders.h"
#include "model/testing/tiny_mmproj.h"
#include "model/vision_encoder.h"

namespace fastcache::engine {
namespace {

using model::test_support::TinyMmproj;
using model::test_support::TinyModel;
using test_support::Collected;
using test_support::LoopDriver;
using test_support::LoopModel;

constexpr int kSide = 32;  // pixels: 16 tokens

class StepLoopPictures : public testing::Test {
 protected:
  explicit StepLoopPictures(const TinyModel& text = {.context_length = 512, .seed = 5},
                            const TinyMmproj& mmproj = {}) {
    model::test_support::write_tiny_model(folder_.file("text.gguf"), text);
    model::test_support::write_tiny_mmproj(folder_.file("mmproj.gguf"), mmproj);
    model_.emplace(folder_.file("text.gguf"), compute_);
    vision_.emplace(folder_.file("mmproj.gguf"), model_->vocab, model_->hparams.n_embd);
  }

  static std::shared_ptr<const Picture> picture(int salt) {
    return std::make_shared<const Picture>(
        image::test_support::random_picture(kSide, kSide, test_seed() + static_cast<uint64_t>(salt)));
  }

  // 2 pictures and 30 words: 62 tokens.
  static Request request(int salt, int max_tokens) {
    Request made = LoopModel::request(30, 7, max_tokens);
    made.tokens[25] = kPictureToken;
    made.tokens.insert(made.tokens.begin() + 4, kPictureToken);
    made.tokens.push_back(9);
    made.pictures = {picture(salt), picture(salt + 1)};
    return made;
  }

  // As the encode stage hands it on.
  std::unique_ptr<RequestState> prepare(const Request& request) {
    auto state = prepare_request(request, *model_, kv::KvType::bf16, 0, &*vision_);
    for (PictureState& p : state->pictures) {
      const model::PictureView view = model::view_of(*p.pixels);
      auto encoded = vision_->encode(std::span(&view, 1), compute_);
      p.embeddings = std::make_shared<const std::vector<float>>(std::move(encoded.front().embeddings));
    }
    return state;
  }

  Collected alone(const Request& request) {
    LoopDriver driver(*model_, compute_, {.pool_bytes = size_t{64} << 20, .loop = {}});
    const int id = driver.submit(prepare(request));
    driver.run_to_the_end();
    return driver.collect(id);
  }

  model::test_support::TemporaryFolder folder_;
  ComputePool compute_{1};
  std::optional<model::LoadedModel> model_;
  std::optional<model::VisionEncoder> vision_;
};

TEST_F(StepLoopPictures, WhoLostItsPagesIsReplayed) {
  for (const bool compressed : {false, true}) {
    std::vector<Request> requests;
    for (int i = 0; i < 4; ++i) {
      requests.push_back(request(10 * i, 70 + i));
      if (compressed) requests.back().compression = {.press = "keydiff", .ratio = 0.3};
    }
    LoopDriver driver(*model_, compute_,
                      {.pool_bytes = LoopModel::pool_for(330), .reserve_pages = 8, .loop = {}});
    for (const Request& r : requests) driver.submit(prepare(r));
    driver.run_to_the_end();
    driver.loop().check();
    int preemptions = 0;
    for (int i = 0; i < 4; ++i) {
      const Collected& got = driver.collect(i);
      EXPECT_EQ(got.error, "");
      EXPECT_EQ(got.answers, alone(requests[static_cast<size_t>(i)]).answers) << i;
      preemptions += got.summary.preemptions;
    }
    if (!compressed) {
      EXPECT_GT(preemptions, 0);
    }
  }
}

// Patches that see each other: 18 tokens a picture, of which 16 go in together, whatever a step may hold.
class StepLoopWholePictures : public StepLoopPictures {
 protected:
  StepLoopWholePictures()
      : StepLoopPictures({.context_length = 512,
                          .qk_norm = true,
                          .post_norms = true,
                          .control_tokens = model::test_support::picture_markers(),
                          .architecture = "gemma3",
                          .seed = 5},
                         {.projector = "gemma3", .image_size = 64}) {}
};

TEST_F(StepLoopWholePictures, GoInWholeInSmallStepsAndScarcePools) {
  std::vector<Request> requests;
  for (int i = 0; i < 5; ++i) requests.push_back(request(10 * i, 60 + i));
  int preemptions = 0;
  for (const int step_tokens : {2, 5, 40}) {
    test_support::DriverOptions options{
        .pool_bytes = LoopModel::pool_for(200), .reserve_pages = 8, .loop = {}};
    options.loop.step_tokens = step_tokens;
    LoopDriver driver(*model_, compute_, options);
    for (const Request& r : requests) driver.submit(prepare(r));
    driver.run_to_the_end();
    driver.loop().check();
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(driver.collect(i).error, "");
      EXPECT_EQ(driver.collect(i).answers, alone(requests[static_cast<size_t>(i)]).answers)
          << step_tokens << ", " << i;
      preemptions += driver.collect(i).summary.preemptions;
    }
  }
  EXPECT_GT(preemptions, 0);
}

TEST_F(StepLoopPictures, SeveralAnswersShareThePrompt) {
  Request asked = request(1, 20);
  asked.n = 3;
  asked.sampling.seed = 5;
  const Collected got = alone(asked);
  ASSERT_EQ(got.answers.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    Request one = request(1, 20);
    one.sampling.seed = 5 + static_cast<uint64_t>(i);
    EXPECT_EQ(alone(one).answers[0], got.answers[static_cast<size_t>(i)]) << i;
  }
}

TEST_F(StepLoopPictures, PicturesThatDifferShareOnlyWhatIsInFrontOfThem) {
  LoopDriver driver(*model_, compute_, {.pool_bytes = size_t{8} << 20, .loop = {}});
  const auto ask = [&](const Request& request) {
    const int id = driver.submit(prepare(request));
    driver.run_to_the_end();
    return driver.collect(id).summary.cached_tokens;
  };
  Request second_differs = request(1, 5);
  second_differs.pictures[1] = picture(50);
  EXPECT_EQ(ask(request(1, 5)), 0);
  EXPECT_EQ(ask(request(1, 5)), 48);   // of 62, whole blocks
  EXPECT_EQ(ask(second_differs), 32);  // the second picture begins behind token 40
  EXPECT_EQ(ask(request(2, 5)), 0);    // its first picture was the second
  driver.loop().check();
}

TEST_F(StepLoopPictures, TokensOfASequenceKnowTheirPicture) {
  const auto state = prepare(request(1, 5));
  ASSERT_EQ(state->prompt.size(), 62u);
  for (size_t i = 0; i < 62; ++i) {
    const kv::Token& token = state->picture_prompt.tokens[i];
    const int image = i >= 4 && i < 20 ? 0 : i >= 41 && i < 57 ? 1 : -1;
    EXPECT_EQ(token.image, image) << i;
    EXPECT_EQ(token.id < 0, image >= 0) << i;
    EXPECT_EQ(token.position[0], static_cast<int>(i));
  }
  EXPECT_EQ(state->picture_prompt.tokens[56].patch_row, 3);
  EXPECT_EQ(state->picture_prompt.tokens[56].patch_col, 3);
}

}  // namespace
}  // namespace fastcache::engine
