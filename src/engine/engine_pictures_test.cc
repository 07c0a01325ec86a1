// SPDX-License-Identifier: Apache-2.0
// Pictures through the public engine, with a tiny model and a tiny encoder for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/test_seed.h"
#include "engine/logprobs.h"
#include "fastcache/engine.h"
#include "model/picture_prompt.h"
#include "model/runner.h"
#include "model/testing/evaluate.h"
#include "model/testing/tiny_mmproj.h"
#include "model/testing/tiny_model.h"
#include "model/vision_encoder.h"

namespace fastcache {
namespace {

using testing::HasSubstr;
using Shared = std::shared_ptr<const Picture>;

constexpr int kImageTokens = 16;  // 32 x 32 pixels in patches of 8

Shared picture(int salt, int width = 40, int height = 32) {
  std::mt19937_64 random(test_seed() + static_cast<uint64_t>(salt));
  auto made = std::make_shared<Picture>(Picture{.width = width, .height = height});
  made->rgb.resize(size_t{3} * static_cast<size_t>(width * height));
  for (uint8_t& byte : made->rgb) byte = static_cast<uint8_t>(random());
  return made;
}

// So many text tokens, a picture, so many more, ...
Request request(const std::vector<Shared>& pictures, int n_text = 20, int max_tokens = 12) {
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

Whole read(Answer& answer) {
  Whole whole;
  while (auto delta = answer.next())
    for (const TokenInfo& token : delta->tokens) {
      whole.said.tokens.push_back(token.id);
      whole.said.logprobs.push_back(token.logprob);
    }
  whole.summary = answer.summary();
  return whole;
}

class EnginePictures : public testing::Test {
 protected:
  EnginePictures() {
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
    for (const Shared& p : request.pictures)
      views.push_back({.width = p->width, .height = p->height, .rgb = p->rgb});
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
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }

  model::test_support::TemporaryFolder folder_;
  EngineOptions options_;
};

TEST_F(EnginePictures, AnswersAreThoseOfTheRunner) {
  Engine engine(options_);
  EXPECT_TRUE(engine.model().has_vision);
  for (int n = 1; n <= 3; ++n) {
    std::vector<Shared> pictures;
    for (int i = 0; i < n; ++i) pictures.push_back(picture(10 * n + i, 20 + 9 * i, 30));
    const Request asked = request(pictures, 7 * n);
    const Whole whole = read(*engine.submit(asked));
    const Said alone = expected(asked);
    EXPECT_EQ(whole.said.tokens, alone.tokens) << n;
    EXPECT_EQ(whole.said.logprobs, alone.logprobs) << n;
    EXPECT_EQ(whole.summary.image_tokens, n * kImageTokens);
    EXPECT_EQ(whole.summary.prompt_tokens, 7 * n * (n + 1) + n * kImageTokens);
    EXPECT_GT(whole.summary.encode_ms, 0);
  }
}

TEST_F(EnginePictures, SmallStepsAndCompanyChangeNothing) {
  const std::vector<Request> requests = {request({picture(1)}), request({picture(2), picture(3)}),
                                         request({picture(1), picture(2)}, 5), request({}, 33)};
  std::vector<Said> alone;
  for (const Request& r : requests) {
    Engine engine(options_);
    alone.push_back(read(*engine.submit(r)).said);
  }
  options_.step_tokens = 9;
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  for (const Request& r : requests) answers.push_back(engine.submit(r));
  for (size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(read(*answers[i]).said, alone[i]) << i;
}

TEST_F(EnginePictures, EqualPicturesAreEncodedOnceAndShareTheirRows) {
  Engine engine(options_);
  const Whole first = read(*engine.submit(request({picture(1), picture(2)})));
  EXPECT_EQ(first.summary.cached_tokens, 0);
  EXPECT_EQ(engine.stats().pictures_encoded, 2);
  const Whole again = read(*engine.submit(request({picture(1), picture(2)})));
  EXPECT_EQ(again.said, first.said);
  EXPECT_EQ(again.summary.encode_ms, 0);
  EXPECT_GT(again.summary.cached_tokens, 20 + kImageTokens);
  EXPECT_EQ(engine.stats().pictures_encoded, 2);
  EXPECT_EQ(engine.stats().mm_cache_queries, 4);
  EXPECT_EQ(engine.stats().mm_cache_hits, 2);
  EXPECT_EQ(engine.stats().mm_cache_bytes, size_t{2} * kImageTokens * 64 * sizeof(float));
}

TEST_F(EnginePictures, DifferentPicturesOfOneSizeShareNothingBehindThem) {
  Engine engine(options_);
  const Whole first = read(*engine.submit(request({picture(1)})));
  const Whole other = read(*engine.submit(request({picture(2)})));
  EXPECT_LE(other.summary.cached_tokens, 20);
  EXPECT_EQ(other.said, expected(request({picture(2)})));
  EXPECT_NE(first.said, other.said);
}

TEST_F(EnginePictures, TheNextTurnGoesOnFromTheRows) {
  Engine engine(options_);
  Request asked = request({picture(1)});
  const Whole first = read(*engine.submit(asked));
  asked.tokens.insert(asked.tokens.end(), first.said.tokens.begin(), first.said.tokens.end());
  asked.tokens.push_back(kPictureToken);
  asked.pictures.push_back(picture(2));
  for (int i = 0; i < 9; ++i) asked.tokens.push_back(30 + i);
  const Whole second = read(*engine.submit(asked));
  EXPECT_GE(second.summary.cached_tokens, (40 + kImageTokens + 12) / 16 * 16 - 16);
  EXPECT_EQ(second.said, expected(asked));
}

TEST_F(EnginePictures, PatchesThatSeeEachOtherGoInTogether) {
  model::test_support::write_tiny_model(file("text.gguf"),
                                        {.context_length = 2048,
                                         .qk_norm = true,
                                         .post_norms = true,
                                         .control_tokens = model::test_support::picture_markers(),
                                         .architecture = "gemma3"});
  model::test_support::write_tiny_mmproj(file("mmproj.gguf"), {.projector = "gemma3"});
  const std::vector<Request> requests = {request({picture(1)}, 5), request({picture(2), picture(3)}, 3),
                                         request({picture(1), picture(2)}, 6)};
  for (const int step_tokens : {2, 3, 512}) {
    options_.step_tokens = step_tokens;
    Engine engine(options_);
    std::vector<std::shared_ptr<Answer>> answers;
    for (const Request& r : requests) answers.push_back(engine.submit(r));
    for (size_t i = 0; i < answers.size(); ++i)
      EXPECT_EQ(read(*answers[i]).said, expected(requests[i])) << step_tokens << ", " << i;
    EXPECT_EQ(read(*engine.submit(requests[2])).said, expected(requests[2]));  // from cached rows
  }
}

TEST_F(EnginePictures, PositionsOfThreeKinds) {
  model::test_support::write_tiny_model(file("text.gguf"),
                                        {.context_length = 2048,
                                         .qkv_bias = true,
                                         .rope_sections = {2, 3, 3, 0},
                                         .control_tokens = model::test_support::picture_markers(),
                                         .architecture = "qwen2vl"});
  model::test_support::write_tiny_mmproj(file("mmproj.gguf"), {.projector = "qwen2vl_merger"});
  const Request asked = request({picture(1, 64, 48), picture(2, 30, 90)}, 5);
  options_.step_tokens = 7;
  Engine engine(options_);
  EXPECT_EQ(read(*engine.submit(asked)).said, expected(asked));
  EXPECT_EQ(read(*engine.submit(asked)).said, expected(asked));
}

TEST_F(EnginePictures, FortyPictures) {
  std::vector<Shared> pictures;
  for (int i = 0; i < 40; ++i) pictures.push_back(picture(i % 25));
  const Request asked = request(pictures, 2);
  Engine engine(options_);
  EXPECT_EQ(read(*engine.submit(asked)).said, expected(asked));
  EXPECT_EQ(engine.stats().pictures_encoded, 25);
  EXPECT_EQ(engine.stats().mm_cache_hits, 15);
}

TEST_F(EnginePictures, ASmallImageCacheForgetsTheOldest) {
  options_.image_cache_bytes = size_t{2} * kImageTokens * 64 * sizeof(float);
  options_.prefix_cache = false;
  Engine engine(options_);
  const auto ask = [&](int salt) { return read(*engine.submit(request({picture(salt)}))).said; };
  const auto first = ask(1);
  ask(2);
  ask(1);  // 2 is the oldest now
  ask(3);
  EXPECT_EQ(engine.stats().pictures_encoded, 3);
  EXPECT_EQ(ask(1), first);
  EXPECT_EQ(engine.stats().pictures_encoded, 3);
  ask(2);
  EXPECT_EQ(engine.stats().pictures_encoded, 4);
  EXPECT_LE(engine.stats().mm_cache_bytes, options_.image_cache_bytes);
}

TEST_F(EnginePictures, CancelledWhileEncodingLeavesTheOthersAlone) {
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 8; ++i) answers.push_back(engine.submit(request({picture(i), picture(i + 1)})));
  for (size_t i = 0; i < answers.size(); i += 2) answers[i]->cancel();
  for (int i = 1; i < 8; i += 2)
    EXPECT_EQ(read(*answers[static_cast<size_t>(i)]).said, expected(request({picture(i), picture(i + 1)})));
  for (size_t i = 0; i < answers.size(); i += 2) read(*answers[i]);  // ends
  EXPECT_EQ(engine.stats().encoding, 0);
}

TEST_F(EnginePictures, ADeadlineEndsARequestThatEncodes) {
  Engine engine(options_);
  std::vector<Shared> pictures;
  for (int i = 0; i < 100; ++i) pictures.push_back(picture(i));
  Request late = request(pictures, 1);
  late.deadline_ms = 1e-3;
  const auto answer = engine.submit(late);
  Finish finish = Finish::failed;
  while (auto delta = answer->next())
    if (delta->finished) finish = delta->finish;
  EXPECT_EQ(finish, Finish::deadline);
}

TEST_F(EnginePictures, WrongRequestsAreRefusedBeforeAnythingIsEncoded) {
  {
    Engine engine(options_);
    Request missing = request({picture(1), picture(2)});
    missing.pictures.pop_back();
    expect_refused(engine, missing, Code::bad_request, "1 pictures and 2 places");
    expect_refused(engine, request({nullptr}), Code::bad_request, "null");
    expect_refused(engine, request({picture(1, 0, 0)}), Code::bad_request, "0 x 0");
    auto short_of_bytes = std::make_shared<Picture>(*picture(1));
    short_of_bytes->rgb.pop_back();
    expect_refused(engine, request({short_of_bytes}), Code::bad_request, "bytes");
    expect_refused(engine, request(std::vector<Shared>(1000, picture(1)), 1), Code::context_too_long, "2048");
    Request again = request({picture(1)});
    again.compression = {.press = "test_second_pass", .ratio = 0.5};
    expect_refused(engine, again, Code::unsupported, "second time");
    EXPECT_EQ(engine.stats().mm_cache_queries, 0);
  }
  options_.mmproj.clear();
  Engine blind(options_);
  EXPECT_FALSE(blind.model().has_vision);
  expect_refused(blind, request({picture(1)}), Code::unsupported, "no vision");
}

TEST_F(EnginePictures, AnEncoderOfAnotherModelIsRefused) {
  model::test_support::write_tiny_mmproj(file("wide.gguf"), {.text_width = 96});
  options_.mmproj = file("wide.gguf");
  EXPECT_THROW(Engine{options_}, Error);
}

TEST_F(EnginePictures, MessagesMayHavePicturesAnywhere) {
  Engine engine(options_);
  Request asked{.max_tokens = 3};
  asked.messages = {
      {.role = "user", .parts = {{.text = "a "}, {.picture = picture(1)}, {.text = "b <|vision_start|>"}}},
      {.role = "assistant", .content = "c"},
      {.role = "user", .parts = {{.picture = picture(2)}, {.picture = picture(1)}}}};
  asked.sampling.ignore_eos = true;
  const Whole whole = read(*engine.submit(asked));
  EXPECT_EQ(whole.summary.image_tokens, 3 * kImageTokens);
  EXPECT_EQ(engine.stats().pictures_encoded, 2);
}

TEST_F(EnginePictures, ChatsInJsonSayWherePicturesGo) {
  Engine engine(options_);
  const ChatCall call{.messages = R"([{"role": "user", "content": [
    {"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": ""}},
    {"type": "text", "text": "and this <__media__>"}, {"type": "image_url", "image_url": {"url": ""}}]}])"};
  const PreparedChat chat = engine.prepare_chat(call);
  EXPECT_EQ(std::count(chat.tokens.begin(), chat.tokens.end(), kPictureToken), 2);
  Request asked{.tokens = chat.tokens, .pictures = {picture(1), picture(2)}, .max_tokens = 3};
  asked.sampling.ignore_eos = true;
  EXPECT_EQ(read(*engine.submit(asked)).said.tokens.size(), 3u);

  options_.mmproj.clear();
  Engine blind(options_);
  EXPECT_THROW(blind.prepare_chat(call), Error);
}

TEST_F(EnginePictures, ManyRequestsAtOnceAllGetTheirTurn) {
  Engine engine(options_);
  std::vector<std::shared_ptr<Answer>> answers;
  std::vector<Request> requests;
  for (int i = 0; i < 16; ++i) {
    std::vector<Shared> pictures;
    for (int p = 0; p < 8; ++p) pictures.push_back(picture((i * 8 + p) % 40));
    requests.push_back(request(pictures, 2, 6));
    answers.push_back(engine.submit(requests.back()));
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    const Whole whole = read(*answers[i]);
    EXPECT_EQ(whole.said.tokens.size(), 6u);
    if (i % 5 == 0) {
      EXPECT_EQ(whole.said, expected(requests[i])) << i;
    }
  }
  EXPECT_LE(engine.stats().pictures_encoded, 40);
}

}  // namespace
}  // namespace fastcache
