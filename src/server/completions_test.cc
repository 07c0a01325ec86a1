// SPDX-License-Identifier: Apache-2.0
// Completions over an engine: what a client sees, whole and streamed.
#include <gtest/gtest.h>

#include <set>

#include "server/testing/completions_fixture.h"

namespace fastcache::server {
namespace {

using test_support::CompletionsTest;
using test_support::kDraw;

TEST_F(CompletionsTest, AWholeChatHasTheShapeThatClientsExpect) {
  const Json json = whole(Endpoint::chat, kDraw);
  EXPECT_EQ(json.at("object"), "chat.completion");
  EXPECT_EQ(json.at("id"), "chatcmpl-r-1");
  EXPECT_EQ(json.at("model"), "tiny");
  EXPECT_GT(json.at("created").get<int64_t>(), 1'700'000'000);
  EXPECT_EQ(json.at("system_fingerprint").get<std::string>().substr(0, 3), "fp_");
  ASSERT_EQ(json.at("choices").size(), 1u);
  const Json& choice = json.at("choices")[0];
  EXPECT_EQ(choice.at("index"), 0);
  EXPECT_EQ(choice.at("finish_reason"), "length");
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_EQ(choice.at("message").at("role"), "assistant");
  EXPECT_TRUE(choice.at("message").at("content").is_string());
  const Json& usage = json.at("usage");
  EXPECT_EQ(usage.at("completion_tokens"), 24);
  EXPECT_GT(usage.at("prompt_tokens"), 5);
  EXPECT_EQ(usage.at("total_tokens"), usage.at("prompt_tokens").get<int>() + 24);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens"), 0);
  for (const char* name : {"queue_ms", "prefill_ms", "compress_ms", "decode_ms", "ttft_ms", "tpot_ms",
                           "rows_before_compression", "rows_after_compression", "freed_bytes", "preemptions"})
    EXPECT_TRUE(json.at("fastcache").at(name).is_number()) << name;
  EXPECT_GT(json.at("fastcache").at("ttft_ms"), 0);
}

TEST_F(CompletionsTest, AStreamSaysTheSameInPieces) {
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    const Json expected = whole(endpoint, kDraw);
    const std::vector<Json> chunks = streamed(endpoint, kDraw);
    const std::string object = endpoint == Endpoint::chat ? "chat.completion.chunk" : "text_completion";
    EXPECT_GE(chunks.size(), 5u);
    for (const Json& chunk : chunks) {
      EXPECT_EQ(chunk.at("object"), object);
      EXPECT_EQ(chunk.at("id"), chunks[0].at("id"));
      EXPECT_EQ(chunk.at("choices").size(), 1u);
      EXPECT_FALSE(chunk.contains("usage"));
      EXPECT_EQ(chunk.contains("fastcache"), &chunk == &chunks.back());
      EXPECT_EQ(chunk.at("choices")[0].at("finish_reason").is_null(), &chunk != &chunks.back());
    }
    if (endpoint == Endpoint::chat) {
      EXPECT_EQ(chunks[0].at("choices")[0].at("delta").at("role"), "assistant");
      EXPECT_EQ(chunks.back().at("choices")[0].at("delta"), Json::object());
    }
    EXPECT_EQ(joined(chunks, 0), text_of(expected.at("choices")[0]));
    EXPECT_FALSE(joined(chunks, 0).empty());
  }
}

TEST_F(CompletionsTest, UsageComesLastAndOnlyWhenAskedFor) {
  const std::vector<Json> chunks =
      streamed(Endpoint::chat, std::string(kDraw) + R"(,"stream_options":{"include_usage":true})");
  for (const Json& chunk : chunks) EXPECT_EQ(chunk.at("usage").is_null(), &chunk != &chunks.back());
  EXPECT_EQ(chunks.back().at("choices"), Json::array());
  EXPECT_EQ(chunks.back().at("usage").at("completion_tokens"), 24);
  EXPECT_TRUE(chunks.back().contains("fastcache"));
  EXPECT_EQ(chunks[chunks.size() - 2].at("choices")[0].at("finish_reason"), "length");
}

TEST_F(CompletionsTest, SeveralPromptsWithSeveralAnswersEach) {
  const std::string fields = R"("prompt": ["one", "two"], "n": 3, )" + std::string(kDraw);
  const Json json = whole(Endpoint::completions, fields);
  const std::vector<Json> chunks = streamed(Endpoint::completions, fields);
  ASSERT_EQ(json.at("choices").size(), 6u);
  std::set<std::string> texts;
  int finished = 0;
  for (const Json& chunk : chunks) finished += chunk.at("choices")[0].at("finish_reason").is_null() ? 0 : 1;
  EXPECT_EQ(finished, 6);
  for (int i = 0; i < 6; ++i) {
    const Json& choice = json.at("choices")[static_cast<size_t>(i)];
    EXPECT_EQ(choice.at("index"), i);
    EXPECT_EQ(joined(chunks, i), text_of(choice));
    texts.insert(text_of(choice));
  }
  EXPECT_EQ(texts.size(), 6u);
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 6 * 24);
  // The company changes nothing, and the second answer is the first one of the next seed.
  const Json alone =
      whole(Endpoint::completions, R"("prompt": "two", "max_tokens": 24, "ignore_eos": true, "seed": 12)");
  EXPECT_EQ(text_of(alone.at("choices")[0]), text_of(json.at("choices")[4]));
  EXPECT_EQ(json.at("usage").at("prompt_tokens").get<int>() % 2,
            0);  // equally long prompts, counted once each
}

TEST_F(CompletionsTest, WithoutASeedEveryAnswerIsAnother) {
  const std::string fields = R"("prompt": ["one", "one"], "max_tokens": 24, "ignore_eos": true)";
  const Json json = whole(Endpoint::completions, fields);
  EXPECT_NE(text_of(json.at("choices")[0]), text_of(json.at("choices")[1]));
}

}  // namespace
}  // namespace fastcache::server
