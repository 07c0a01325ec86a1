// SPDX-License-Identifier: Apache-2.0
// Completions over an engine: what a client sees, whole and streamed.
#include "server/completions.h"

#include <gtest/gtest.h>

#include "server/json_field.h"
#include "server/testing/api_driver.h"
#include "server/testing/request_bodies.h"

namespace fastcache::server {
namespace {

using test_support::ApiDriver;
using test_support::body_with;
using test_support::events_of;
using test_support::Exchange;

constexpr const char* kPaths[] = {"/v1/chat/completions", "/v1/completions"};
constexpr const char* kDraw = R"("seed": 11, "max_tokens": 24, "ignore_eos": true)";

const char* path_of(Endpoint endpoint) { return kPaths[endpoint == Endpoint::chat ? 0 : 1]; }

class CompletionsTest : public testing::Test {
 protected:
  Json whole(Endpoint endpoint, const std::string& fields, int status = 200) {
    const auto exchange = driver_.call("POST", path_of(endpoint), body_with(endpoint, fields));
    EXPECT_EQ(exchange->reply.status, status) << exchange->reply.body;
    EXPECT_EQ(exchange->reply.content_type, "application/json");
    return Json::parse(exchange->reply.body);
  }
  std::vector<Json> streamed(Endpoint endpoint, const std::string& fields) {
    const auto exchange =
        driver_.call("POST", path_of(endpoint), body_with(endpoint, fields + R"(,"stream":true)"));
    EXPECT_EQ(exchange->reply.status, 200) << exchange->reply.body;
    EXPECT_EQ(exchange->reply.content_type, "text/event-stream");
    EXPECT_TRUE(exchange->reply.ended);
    std::vector<std::string> events = events_of(exchange->reply.body);
    EXPECT_EQ(events.back(), "[DONE]");
    events.pop_back();
    std::vector<Json> chunks;
    for (const std::string& event : events) chunks.push_back(Json::parse(event));
    return chunks;
  }
  static std::string text_of(const Json& choice) {
    if (choice.contains("text")) return choice.at("text");
    const Json& part = choice.contains("delta") ? choice.at("delta") : choice.at("message");
    return part.value("content", "");
  }
  // Of one choice of a stream.
  static std::string joined(const std::vector<Json>& chunks, int index) {
    std::string text;
    for (const Json& chunk : chunks)
      for (const Json& choice : chunk.at("choices"))
        if (choice.at("index") == index) text += text_of(choice);
    return text;
  }

  ApiDriver driver_;
};

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

TEST_F(CompletionsTest, StopStringsEndAnAnswer) {
  const std::string text = text_of(whole(Endpoint::completions, kDraw).at("choices")[0]);
  size_t middle = text.size() / 2;
  while ((static_cast<unsigned char>(text[middle]) & 0xC0) == 0x80) ++middle;  // between characters
  size_t end = middle + 1;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  const std::string stop = text.substr(middle, end - middle);
  const std::string fields = std::string(kDraw) + R"(, "stop": ["no such thing", )" + Json(stop).dump() + "]";
  const Json stopped = whole(Endpoint::completions, fields).at("choices")[0];
  EXPECT_EQ(text_of(stopped), text.substr(0, text.find(stop)));
  EXPECT_EQ(stopped.at("finish_reason"), "stop");
  EXPECT_EQ(joined(streamed(Endpoint::completions, fields), 0), text_of(stopped));
}

TEST_F(CompletionsTest, LogprobsOfEveryToken) {
  const std::string chat = std::string(kDraw) + R"(, "logprobs": true, "top_logprobs": 2)";
  const Json list = whole(Endpoint::chat, chat).at("choices")[0].at("logprobs").at("content");
  ASSERT_EQ(list.size(), 24u);
  for (const Json& token : list) {
    EXPECT_LE(token.at("logprob"), 0);
    ASSERT_EQ(token.at("top_logprobs").size(), 2u);
    EXPECT_GE(token.at("top_logprobs")[0].at("logprob"), token.at("top_logprobs")[1].at("logprob"));
    EXPECT_GE(token.at("top_logprobs")[0].at("logprob"), token.at("logprob"));
  }
  Json from_stream = Json::array();
  for (const Json& chunk : streamed(Endpoint::chat, chat)) {
    const Json& logprobs = chunk.at("choices")[0].at("logprobs");
    if (logprobs.is_null()) continue;
    for (const Json& token : logprobs.at("content")) from_stream.push_back(token);
  }
  EXPECT_EQ(from_stream, list);

  const Json legacy =
      whole(Endpoint::completions, std::string(kDraw) + R"(, "logprobs": 3)").at("choices")[0].at("logprobs");
  for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(legacy.at(name).size(), 24u) << name;
  for (size_t i = 0; i < 24; ++i)
    EXPECT_TRUE(legacy.at("top_logprobs")[i].contains(legacy.at("tokens")[i].get<std::string>()));
}

TEST_F(CompletionsTest, EchoBeginsWithThePrompt) {
  const std::string fields = R"("prompt": "before", "echo": true, )" + std::string(kDraw);
  const std::string text = text_of(whole(Endpoint::completions, fields).at("choices")[0]);
  EXPECT_EQ(text.substr(0, 6), "before");
  EXPECT_EQ(joined(streamed(Endpoint::completions, fields), 0), text);
}

TEST_F(CompletionsTest, JsonSchemasAreFollowed) {
  const std::string format = R"("seed": 3, "max_tokens": 200, "response_format": {"type": "json_schema",
      "json_schema": {"name": "n", "schema": {"type": "object", "properties": {"z": {"type": "boolean"},
      "a": {"enum": ["x", "y"]}}, "required": ["z", "a"], "additionalProperties": false}}})";
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    const Json answer = Json::parse(text_of(whole(endpoint, format).at("choices")[0]));
    EXPECT_TRUE(answer.at("z").is_boolean());
    EXPECT_TRUE(answer.at("a") == "x" || answer.at("a") == "y");
    EXPECT_EQ(answer.begin().key(), "z");  // in the schema's order
  }
}

TEST_F(CompletionsTest, CompressionKeepsUsageLogical) {
  const std::string prompt = R"("prompt": ")" + std::string(300, 'x') + "\", " + kDraw;
  const Json plain = whole(Endpoint::completions, prompt);
  const Json text_form =
      whole(Endpoint::completions, prompt + R"x(, "kv_compression": "knorm(ratio=0.75)")x");
  const Json object_form =
      whole(Endpoint::completions, prompt + R"(, "kv_compression": {"method": "knorm", "ratio": 0.75})");
  EXPECT_EQ(text_form.at("choices"), object_form.at("choices"));
  EXPECT_EQ(text_form.at("usage"), plain.at("usage"));
  const Json& figures = text_form.at("fastcache");
  EXPECT_EQ(plain.at("fastcache").at("rows_before_compression"), 0);
  EXPECT_GT(figures.at("rows_before_compression"), 1000);
  EXPECT_LT(figures.at("rows_after_compression").get<double>(),
            0.26 * figures.at("rows_before_compression").get<double>());
}

TEST_F(CompletionsTest, RefusalsNameTheFieldAndTheModel) {
  const auto error_of = [&](const std::string& fields, int status) {
    return whole(Endpoint::chat, fields, status).at("error");
  };
  const Json type = error_of(R"("temperature": "hot")", 400);
  EXPECT_EQ(type.at("param"), "temperature");
  EXPECT_EQ(type.at("type"), "invalid_request_error");
  EXPECT_EQ(type.at("message"), "temperature is a string; it must be a number from 0 to 100");
  const Json model = error_of(R"("model": "gpt-4o")", 404);
  EXPECT_EQ(model.at("code"), "model_not_found");
  EXPECT_EQ(model.at("param"), "model");
  EXPECT_EQ(whole(Endpoint::chat, std::string(kDraw) + R"(, "model": "tiny")").at("model"), "tiny");
  const Json length = whole(Endpoint::completions, R"("prompt": ")" + std::string(600, 'x') + "\"", 400);
  EXPECT_EQ(length.at("error").at("code"), "context_too_long");
}

TEST(Completions, ADeadlineBeforeTheFirstTokenIsAnError) {
  ApiDriver::Options options;
  options.model.context_length = 8192;
  options.engine.max_running = 1;
  ApiDriver driver(options);
  const auto first = driver.start(
      "POST", kPaths[1], body_with(Endpoint::completions, R"("max_tokens": 8000, "ignore_eos": true)"));
  for (const char* stream : {"", R"(, "stream": true)"}) {  // both wait behind the first one
    const auto late = driver.call("POST", kPaths[0],
                                  body_with(Endpoint::chat, std::string(R"("deadline_ms": 1)") + stream));
    EXPECT_EQ(late->reply.status, 408) << late->reply.body;
    EXPECT_EQ(Json::parse(late->reply.body).at("error").at("code"), "deadline_exceeded");
  }
  first->reply.leave();
  driver.run([&] { return first->done; });
  EXPECT_TRUE(driver.becomes_idle());
}

TEST(Completions, AFullQueueIs429) {
  ApiDriver::Options options;
  options.engine.max_waiting = 0;
  ApiDriver driver(options);
  for (const char* stream : {"", R"("stream": true)"}) {
    const auto exchange = driver.call("POST", kPaths[0], body_with(Endpoint::chat, stream));
    EXPECT_EQ(exchange->reply.status, 429);
    EXPECT_EQ(Json::parse(exchange->reply.body).at("error").at("code"), "overloaded");
  }
}

TEST(Completions, DefaultsOfTheServerCount) {
  ApiDriver::Options options;
  options.api.defaults.compression = {.press = "knorm", .ratio = 0.5};
  options.api.defaults.max_tokens = 3;
  options.api.model_name = "served";
  options.api.aliases = {"other"};
  ApiDriver driver(options);
  const auto exchange =
      driver.call("POST", kPaths[0], body_with(Endpoint::chat, R"("model":"other","ignore_eos":true)"));
  const Json json = Json::parse(exchange->reply.body);
  EXPECT_EQ(json.at("model"), "served");
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 3);
  EXPECT_GT(json.at("fastcache").at("rows_before_compression"), 0);
}

}  // namespace
}  // namespace fastcache::server
