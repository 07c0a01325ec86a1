// SPDX-License-Identifier: Apache-2.0
// For tests of pictures in the public engine: a tiny model with a tiny encoder, requests with pictures, and
// what the runner alone says to them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/test_seed.h"
#include "engine/logprobs.h"
#include "fastcache/engine.h"
#include "image/testing/encoders.h"
#include "model/picture_prompt.h"
#include "model/runner.h"
#include "model/testing/evaluate.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"
#include "model/vision_encoder.h"

namespace fastcache::engine::test_support {

using Shared = std::shared_ptr<const Picture>;

constexpr int kImageTokens = 16;  // 32 x 32 pixels in patches of 8

inline Shared picture(int salt, int width = 40, int height = 32) {
  return std::make_shared<const Picture>(
      image::test_support::random_picture(width, height, test_seed() + static_cast<uint64_t>(salt)));
}

// So many text tokens, a picture, so many more, ...
inline Request request(const std::vector<Shared>& pictures, int n_text = 20, int max_tokens = 12) {
  Request made{.pictures = pictures, .max_tokens = max_tokens};
  const auto add_text = [&] {
    for (int i = 0; i < n_text; ++i)
      made.tokens.push_back(3 + (static_cast<int>(made.tokens.size()) * 37 + i) % 250);
  };
  add_text();
  for (size_t i = 0; i < pictures.size(); ++i) {
    made.tokens.push_back(kPictureToken);
    add_text();
  }
  made.sampling.temperature = 0;
  made.sampling.ignore_eos = true;
  made.sampling.logprobs = 0;
  return made;
}

// Logprobs too: a tiny random model says the same few tokens whatever it sees.
struct Said {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  bool operator==(const Said&) const = default;
};

struct Whole {
  Said said;
  Summary summary;
};

inline Whole read(Answer& answer) {
  Whole whole;
  while (auto delta = answer.next())
    for (const TokenInfo& token : delta->tokens) {
      whole.said.tokens.push_back(token.id);
      whole.said.logprobs.push_back(token.logprob);
    }
  whole.summary = answer.summary();
  return whole;
}

class PicturesTest : public testing::Test {
 protected:
  PicturesTest() {
    model::test_support::write_tiny_model(
        file("text.gguf"),
        {.context_length = 2048, .control_tokens = model::test_support::picture_markers()});
    model::test_support::write_tiny_mmproj(file("mmproj.gguf"), {});
    options_ = {.model = file("text.gguf"),
                .pool_bytes = size_t{4} << 20,
                .kv_type = "f32",
                .threads = 1,
                .mmproj = file("mmproj.gguf")};
  }
  std::string file(const char* name) const { return folder_.file(name); }

  // The likeliest tokens, by the runner alone.
  Said expected(const Request& request) const {
    model::test_support::TestModel text(file("text.gguf"), 1);
    const model::Vocab vocab(text.file);
    model::VisionEncoder encoder(file("mmproj.gguf"), vocab, text.hparams.n_embd);
    std::vector<model::PictureView> views;
    for (const Shared& p : request.pictures) views.push_back(model::view_of(*p));
    const auto encoded = encoder.encode(views, text.compute);
    std::vector<model::PictureLayout> layouts;
    for (const auto& e : encoded) layouts.push_back(e.layout);
    const model::PicturePrompt prompt = model::expand_pictures(request.tokens, layouts, encoder.reading());
    std::vector<const float*> embeddings;
    for (size_t i = 0; i < prompt.tokens.size(); ++i) {
      const kv::Token& token = prompt.tokens[i];
      embeddings.push_back(token.id >= 0 ? nullptr
                                         : encoded[static_cast<size_t>(token.image)].embeddings.data() +
                                               prompt.rows[i] * text.hparams.n_embd);
    }
    const kv::CacheShape shape = model::cache_shape(text.hparams, kv::KvType::f32);
    kv::PagePool pool(
        {.head_dim = text.hparams.head_dim, .bytes = size_t{4} << 20, .types = {kv::KvType::f32}});
    model::Runner runner(text.hparams, *text.family, pool, text.compute);
    kv::Sequence sequence(pool, shape);
    Said answer;
    EXPECT_TRUE(sequence.append(prompt.tokens));
    int32_t row = static_cast<int32_t>(prompt.tokens.size()) - 1;
    model::StepSequence step{
        .sequence = &sequence, .n_new = row + 1, .logit_rows = std::span(&row, 1), .embeddings = embeddings};
    while (true) {
      const auto logits = runner.run(std::span(&step, 1));
      // ignore_eos: what ends an answer is never chosen.
      auto best = logits.end();
      for (auto at = logits.begin(); at != logits.end(); ++at) {
        if (vocab.is_eog(static_cast<int32_t>(at - logits.begin()))) continue;
        if (best == logits.end() || *at > *best) best = at;
      }
      answer.tokens.push_back(static_cast<int32_t>(best - logits.begin()));
      answer.logprobs.push_back(static_cast<float>(*best - engine::log_sum_exp(logits)));
      if (static_cast<int>(answer.tokens.size()) == request.max_tokens) return answer;
      EXPECT_TRUE(sequence.append_text(std::span(&answer.tokens.back(), 1)));
      row = 0;
      step = {.sequence = &sequence, .n_new = 1, .logit_rows = std::span(&row, 1)};
    }
  }

  static void expect_refused(Engine& engine, const Request& request, Code code, const std::string& part) {
    try {
      read(*engine.submit(request));
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(part));
    }
  }

  model::test_support::TemporaryFolder folder_;
  EngineOptions options_;
};

}  // namespace fastcache::engine::test_support
