// SPDX-License-Identifier: Apache-2.0
// Completions over an engine: what the fields of a request do.
#include <gtest/gtest.h>

#include "server/testing/completions_fixture.h"

namespace fastcache::server {
namespace {

using test_support::ApiDriver;
using test_support::body_with;
using test_support::CompletionsTest;
using test_support::kDraw;
using test_support::kPaths;

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

class LongPromptsTest : public CompletionsTest {  // descriptions of tools are long in a vocabulary of bytes
 protected:
  LongPromptsTest() : CompletionsTest(8192) {}
};

TEST_F(LongPromptsTest, ToolsAreCalledWholeAndInPieces) {
  const std::string fields = R"("seed": 5, "max_tokens": 1000, "tool_choice": "required", "tools": [{
      "type": "function", "function": {"name": "look_up", "parameters": {"type": "object",
      "properties": {"where": {"enum": ["here", "there"]}}, "required": ["where"],
      "additionalProperties": false}}}])";
  const Json choice = whole(Endpoint::chat, fields).at("choices")[0];
  EXPECT_EQ(choice.at("finish_reason"), "tool_calls");
  const Json& calls = choice.at("message").at("tool_calls");
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].at("type"), "function");
  EXPECT_FALSE(calls[0].at("id").get<std::string>().empty());
  EXPECT_EQ(calls[0].at("function").at("name"), "look_up");
  const std::string arguments = calls[0].at("function").at("arguments");
  const std::string where = Json::parse(arguments).at("where");
  EXPECT_TRUE(where == "here" || where == "there");

  std::string name, streamed_arguments, reason;
  for (const Json& chunk : streamed(Endpoint::chat, fields)) {
    const Json& part = chunk.at("choices")[0];
    if (!part.at("finish_reason").is_null()) reason = part.at("finish_reason");
    if (!part.at("delta").contains("tool_calls")) continue;
    const Json& call = part.at("delta").at("tool_calls")[0];
    EXPECT_EQ(call.at("index"), 0);
    name += call.at("function").value("name", "");
    streamed_arguments += call.at("function").value("arguments", "");
  }
  EXPECT_EQ(reason, "tool_calls");
  EXPECT_EQ(name, "look_up");
  EXPECT_EQ(streamed_arguments, arguments);
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
  options.model.context_length = 16384;
  options.engine.max_running = 1;
  ApiDriver driver(options);
  const auto first = driver.start(
      "POST", kPaths[1], body_with(Endpoint::completions, R"("max_tokens": 15000, "ignore_eos": true)"));
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
