// SPDX-License-Identifier: Apache-2.0
// An adapter for requests with pictures, beside requests without: who is computed with it, and that neither
// kind ever starts from the other's rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/test_seed.h"
#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"
#include "fastcache/engine.h"
#include "model/testing/tiny_adapter.h"
#include "model/testing/tiny_mmproj.h"
#include "model/vision_encoder.h"

namespace fastcache::engine {
namespace {

using test_support::Collected;
using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;

constexpr int kSide = 32;  // pixels: 16 tokens
const model::test_support::TinyModel kText{.context_length = 512, .seed = 5};

class LoraRequests : public testing::Test {
 protected:
  LoraRequests() {
    model::test_support::write_tiny_model(folder_.file("text.gguf"), kText);
    model::test_support::write_tiny_mmproj(folder_.file("mmproj.gguf"), {});
    model::test_support::write_tiny_adapter(folder_.file("adapter.gguf"), kText, {});
    model_.emplace(folder_.file("text.gguf"), compute_);
    vision_.emplace(folder_.file("mmproj.gguf"), model_->vocab, model_->hparams.n_embd);
    lora_.emplace(folder_.file("adapter.gguf"), model_->hparams);
  }

  static std::shared_ptr<const Picture> picture(int salt) {
    std::mt19937_64 random(test_seed() + static_cast<uint64_t>(salt));
    auto made = std::make_shared<Picture>(Picture{.width = kSide, .height = kSide});
    made->rgb.resize(size_t{3} * kSide * kSide);
    for (uint8_t& byte : made->rgb) byte = static_cast<uint8_t>(random());
    return made;
  }

  // 70 words, and behind the 40th a picture: 86 tokens. Those of text() with a picture in between.
  static Request with_picture(int salt, int max_tokens) {
    Request made = text(salt, max_tokens);
    made.tokens.insert(made.tokens.begin() + 40, kPictureToken);
    made.pictures = {picture(salt)};
    return made;
  }
  static Request text(int salt, int max_tokens) { return LoopModel::request(70, salt, max_tokens); }

  // As the encode stage hands it on.
  std::unique_ptr<RequestState> prepare(const Request& request) {
    auto state = prepare_request(request, *model_, kv::KvType::bf16, 0, &*vision_);
    for (PictureState& p : state->pictures) {
      const model::PictureView view{
          .width = p.pixels->width, .height = p.pixels->height, .rgb = p.pixels->rgb};
      auto encoded = vision_->encode(std::span(&view, 1), compute_);
      p.embeddings = std::make_shared<const std::vector<float>>(std::move(encoded.front().embeddings));
    }
    return state;
  }

  DriverOptions options(bool with_lora) const {
    DriverOptions made{.pool_bytes = size_t{16} << 20, .loop = {}};
    if (with_lora) made.loop.lora = &*lora_;
    return made;
  }

  Collected ask(LoopDriver& driver, const Request& request) {
    const int id = driver.submit(prepare(request));
    driver.run_to_the_end();
    EXPECT_EQ(driver.collect(id).error, "");
    return driver.collect(id);
  }

  Collected alone(const Request& request, bool with_lora) {
    LoopDriver driver(*model_, compute_, options(with_lora));
    return ask(driver, request);
  }

  // The likeliest tokens, by the runner alone.
  std::vector<int32_t> by_runner(const Request& request, bool adapted) {
    const auto state = prepare(request);
    const model::PicturePrompt& prompt = state->picture_prompt;
    std::vector<const float*> embeddings;
    for (size_t i = 0; i < prompt.tokens.size(); ++i) {
      const bool is_text = prompt.tokens[i].id >= 0;
      embeddings.push_back(is_text ? nullptr
                                   : state->pictures[0].embeddings->data() +
                                         prompt.rows[i] * model_->hparams.n_embd);
    }
    kv::PagePool pool({.head_dim = 16, .bytes = size_t{4} << 20, .types = {kv::KvType::bf16}});
    model::Runner runner(model_->hparams, *model_->family, pool, compute_, &*lora_);
    kv::Sequence sequence(pool, model::cache_shape(model_->hparams, kv::KvType::bf16));
    EXPECT_TRUE(sequence.append(prompt.tokens));
    int32_t row = static_cast<int32_t>(prompt.tokens.size()) - 1;
    model::StepSequence step{.sequence = &sequence,
                             .n_new = row + 1,
                             .logit_rows = std::span(&row, 1),
                             .embeddings = embeddings,
                             .adapted = adapted};
    std::vector<int32_t> tokens;
    while (true) {
      const auto logits = runner.run(std::span(&step, 1));
      auto best = logits.end();
      for (auto at = logits.begin(); at != logits.end(); ++at) {
        if (model_->vocab.is_eog(static_cast<int32_t>(at - logits.begin()))) continue;
        if (best == logits.end() || *at > *best) best = at;
      }
      tokens.push_back(static_cast<int32_t>(best - logits.begin()));
      if (static_cast<int>(tokens.size()) == request.max_tokens) return tokens;
      EXPECT_TRUE(sequence.append_text(std::span(&tokens.back(), 1)));
      row = 0;
      step = {.sequence = &sequence, .n_new = 1, .logit_rows = std::span(&row, 1), .adapted = adapted};
    }
  }

  model::test_support::TemporaryFolder folder_;
  ComputePool compute_{1};
  std::optional<model::LoadedModel> model_;
  std::optional<model::VisionEncoder> vision_;
  std::optional<model::LoraAdapter> lora_;
};

TEST_F(LoraRequests, PicturesAreComputedWithItAndTextIsNot) {
  const Request seen = with_picture(1, 12), read = text(1, 12);
  EXPECT_EQ(alone(seen, true).answers[0].tokens, by_runner(seen, true));
  EXPECT_EQ(alone(seen, false).answers[0].tokens, by_runner(seen, false));
  EXPECT_NE(by_runner(seen, true), by_runner(seen, false));
  EXPECT_EQ(alone(read, true).answers, alone(read, false).answers);
}

TEST_F(LoraRequests, BothKindsInOneBatchAnswerAsAlone) {
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) {
    requests.push_back(with_picture(i, 20 + i));
    requests.push_back(text(i, 20 + i));
    requests.push_back(with_picture(10 + i, 20));
    requests.back().compression = {.press = "snapkv", .ratio = 0.4};
    requests.push_back(text(10 + i, 20));
    requests.back().compression = {.press = "keydiff", .ratio = 0.4};
  }
  DriverOptions small = options(true);
  small.loop.step_tokens = 50;
  LoopDriver driver(*model_, compute_, small);
  for (const Request& r : requests) driver.submit(prepare(r));
  driver.run_to_the_end();
  driver.loop().check();
  for (size_t i = 0; i < requests.size(); ++i)
    EXPECT_EQ(driver.collect(static_cast<int>(i)).answers, alone(requests[i], i % 2 == 0).answers) << i;
}

TEST_F(LoraRequests, WhoLostItsPagesIsReplayedWithIt) {
  DriverOptions scarce = options(true);
  scarce.pool_bytes = LoopModel::pool_for(330);
  scarce.reserve_pages = 8;
  LoopDriver driver(*model_, compute_, scarce);
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) requests.push_back(i % 2 == 0 ? with_picture(i, 70 + i) : text(i, 70 + i));
  for (const Request& r : requests) driver.submit(prepare(r));
  driver.run_to_the_end();
  int preemptions = 0;
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(driver.collect(i).answers, alone(requests[static_cast<size_t>(i)], i % 2 == 0).answers) << i;
    preemptions += driver.collect(i).summary.preemptions;
  }
  EXPECT_GT(preemptions, 0);
}

// The 40 words in front of the picture are those of the text: 2 blocks.
TEST_F(LoraRequests, NeitherKindStartsFromTheOthersRows) {
  for (const bool with_lora : {true, false}) {
    for (const bool picture_first : {true, false}) {
      LoopDriver driver(*model_, compute_, options(with_lora));
      const Request first = picture_first ? with_picture(1, 6) : text(1, 6);
      const Request second = picture_first ? text(1, 6) : with_picture(1, 6);
      EXPECT_EQ(ask(driver, first).summary.cached_tokens, 0);
      const Collected got = ask(driver, second);
      EXPECT_EQ(got.summary.cached_tokens, with_lora ? 0 : 32);
      EXPECT_EQ(got.answers, alone(second, with_lora && !picture_first).answers);
      EXPECT_GE(ask(driver, first).summary.cached_tokens, 64) << "its own rows are there";
      driver.loop().check();
    }
  }
}

// A turn with a picture behind a turn without, whose rows a press made.
TEST_F(LoraRequests, CompressedRowsOfTextAreNoPrefixOfATurnWithAPicture) {
  for (const bool with_lora : {true, false}) {
    LoopDriver driver(*model_, compute_, options(with_lora));
    Request turn = text(1, 6);
    turn.compression = {.press = "keydiff", .ratio = 0.5};
    const Collected said = ask(driver, turn);
    std::vector<int32_t> next = turn.tokens;
    const std::vector<int32_t>& answer = said.answers[0].tokens;
    next.insert(next.end(), answer.begin(), answer.end());
    next.push_back(30);
    Request plain = turn, seen = turn;
    plain.tokens = seen.tokens = next;
    seen.tokens.push_back(kPictureToken);
    seen.tokens.push_back(31);
    seen.pictures = {picture(3)};
    EXPECT_EQ(ask(driver, seen).summary.cached_tokens, with_lora ? 0 : 75);
    EXPECT_EQ(ask(driver, plain).summary.cached_tokens, 75);
    driver.loop().check();
  }
}

TEST_F(LoraRequests, AnEngineNeedsAnEncoderForIt) {
  EngineOptions of{.model = folder_.file("text.gguf"),
                   .pool_bytes = size_t{4} << 20,
                   .threads = 1,
                   .lora = folder_.file("adapter.gguf")};
  try {
    const Engine engine(of);
    ADD_FAILURE() << "an engine without eyes took an adapter";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    EXPECT_NE(std::string(error.what()).find("--mmproj"), std::string::npos) << error.what();
  }
  of.mmproj = folder_.file("mmproj.gguf");
  Engine engine(of);
  const auto said = [&](const Request& request) {
    std::vector<int32_t> tokens;
    const auto answer = engine.submit(request);
    while (const auto delta = answer->next())
      for (const TokenInfo& token : delta->tokens) tokens.push_back(token.id);
    return tokens;
  };
  EXPECT_EQ(said(with_picture(2, 8)), by_runner(with_picture(2, 8), true));
  EXPECT_EQ(said(text(2, 8)), alone(text(2, 8), false).answers[0].tokens);
}

}  // namespace
}  // namespace fastcache::engine
