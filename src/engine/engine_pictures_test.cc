// SPDX-License-Identifier: Apache-2.0
// Pictures through the public engine: prompts of each family, and what is refused.
#include "engine/testing/pictures_fixture.h"

#include <algorithm>

namespace fastcache {
namespace {

using engine::test_support::kImageTokens;
using engine::test_support::picture;
using engine::test_support::read;
using engine::test_support::request;
using engine::test_support::Said;
using engine::test_support::Shared;
using engine::test_support::Whole;

using EnginePictures = engine::test_support::PicturesTest;

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

}  // namespace
}  // namespace fastcache
