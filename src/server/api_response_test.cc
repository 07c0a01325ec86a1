// SPDX-License-Identifier: Apache-2.0
#include "server/api_response.h"

#include <gtest/gtest.h>

#include <limits>

#include "server/json_field.h"
#include "server/json_text.h"
#include "server/logprobs_text.h"

namespace fastcache::server {
namespace {

const ResponseHead kChat{.endpoint = Endpoint::chat,
                         .id = "chatcmpl-\"1\"",
                         .created = 1'700'000'000,
                         .model = "m",
                         .fingerprint = "fp_1"};
ResponseHead text_head() {
  ResponseHead head = kChat;
  head.endpoint = Endpoint::completions;
  return head;
}

// The JSON of one event.
Json event(const std::string& text) {
  EXPECT_EQ(text.substr(0, 6), "data: ");
  EXPECT_EQ(text.substr(text.size() - 2), "\n\n");
  return Json::parse(text.substr(6));
}

TEST(JsonText, IsReadBackAsItWas) {
  std::string all;
  for (int c = 0; c < 128; ++c) all += static_cast<char>(c);
  all += "äß€😀";
  EXPECT_EQ(Json::parse(json_string(all)).get<std::string>(), all);
  EXPECT_EQ(json_string(all).find('\n'), std::string::npos);  // would end an event
  std::string numbers = "[";
  for (float number : {0.0f, -1.5f, -1e-30f, -std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::quiet_NaN()}) {
    if (numbers.size() > 1) numbers += ',';
    append_json_number(numbers, number);
  }
  EXPECT_EQ(Json::parse(numbers + "]"), Json::parse("[0, -1.5, -1e-30, -9999, -9999]"));
}

TEST(ChunkWriter, ChatChunks) {
  const ChunkWriter writer(kChat, false);
  std::string out;
  writer.role(out, 0);
  const Json role = event(out);
  EXPECT_EQ(role.at("id"), "chatcmpl-\"1\"");
  EXPECT_EQ(role.at("object"), "chat.completion.chunk");
  EXPECT_EQ(role.at("created"), 1'700'000'000);
  EXPECT_EQ(role.at("choices"),
            Json::parse(R"([{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null,
                             "finish_reason": null}])"));
  EXPECT_FALSE(role.contains("usage"));

  out.clear();
  writer.delta(out, 2, {.content = "a\"b", .reasoning = "c"}, R"({"content":[]})");
  EXPECT_EQ(event(out).at("choices"),
            Json::parse(R"([{"index": 2, "delta": {"content": "a\"b", "reasoning_content": "c"},
                             "logprobs": {"content": []}, "finish_reason": null}])"));
  out.clear();
  writer.delta(out, 0, {.tool_call = 1, .tool_call_id = "call_1", .tool_name = "f"}, {});
  EXPECT_EQ(event(out).at("choices")[0].at("delta"),
            Json::parse(R"({"tool_calls": [{"index": 1, "id": "call_1", "type": "function",
                            "function": {"name": "f", "arguments": ""}}]})"));
  out.clear();
  writer.delta(out, 0, {.tool_call = 1, .tool_arguments = "{\"a\""}, {});
  EXPECT_EQ(event(out).at("choices")[0].at("delta"),
            Json::parse(R"({"tool_calls": [{"index": 1, "function": {"arguments": "{\"a\""}}]})"));
  out.clear();
  writer.finish(out, 0, "stop", {}, R"({"x":1})");
  EXPECT_EQ(event(out).at("choices")[0].at("delta"), Json::object());
  EXPECT_EQ(event(out).at("choices")[0].at("finish_reason"), "stop");
  EXPECT_EQ(event(out).at("fastcache").at("x"), 1);
}

TEST(ChunkWriter, TextChunksAndUsage) {
  const ChunkWriter writer(text_head(), true);
  std::string out;
  writer.text(out, 1, "x", {});
  EXPECT_EQ(event(out).at("choices"),
            Json::parse(R"([{"index": 1, "text": "x", "logprobs": null, "finish_reason": null}])"));
  EXPECT_TRUE(event(out).at("usage").is_null());
  out.clear();
  const Summary summary{.prompt_tokens = 10, .cached_tokens = 4, .generated_tokens = 5};
  writer.usage(out, summary, fastcache_json(summary, "stop"));
  EXPECT_EQ(event(out).at("choices"), Json::array());
  EXPECT_EQ(event(out).at("usage"), Json::parse(R"({"prompt_tokens": 10, "completion_tokens": 5,
      "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}})"));
}

TEST(WholeResponse, ToolCallsHaveNoContent) {
  Choice choice{.finish_reason = "tool_calls"};
  choice.add({.tool_call = 0, .tool_call_id = "call_1", .tool_name = "f"});
  choice.add({.tool_call = 0, .tool_arguments = "{\"a\":"});
  choice.add({.tool_call = 0, .tool_arguments = "1}"});
  const Json json = Json::parse(whole_response(kChat, std::span(&choice, 1), {}, "stop"));
  EXPECT_EQ(json.at("object"), "chat.completion");
  EXPECT_EQ(json.at("choices")[0].at("message"),
            Json::parse(R"({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1",
                "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]})"));
  EXPECT_EQ(json.at("choices")[0].at("finish_reason"), "tool_calls");
}

TEST(SumOf, TokensAddUpAndTimesDoNot) {
  const Summary both[] = {{.prompt_tokens = 3, .generated_tokens = 5, .ttft_ms = 10, .freed_bytes = 7},
                          {.prompt_tokens = 4, .generated_tokens = 6, .ttft_ms = 30, .freed_bytes = 8}};
  const Summary sum = sum_of(both);
  EXPECT_EQ(sum.prompt_tokens, 7);
  EXPECT_EQ(sum.generated_tokens, 11);
  EXPECT_EQ(sum.ttft_ms, 30);
  EXPECT_EQ(sum.freed_bytes, 15u);
}

std::string bytes_of(int32_t token) {
  const char* texts[] = {"a", "\xe2\x82", "\xac", "äb"};
  return texts[token];
}

TEST(LogprobsText, Chat) {
  LogprobsText text(Endpoint::chat, 1, bytes_of);
  EXPECT_EQ(text.take(), "");
  const TokenInfo tokens[] = {{.id = 0, .logprob = -0.5f, .top = {{1, -0.25f}}}, {.id = 3, .logprob = -1.0f}};
  text.add(tokens);
  EXPECT_EQ(Json::parse(text.take()), Json::parse(R"({"content": [
      {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [
          {"token": "\ufffd", "logprob": -0.25, "bytes": [226, 130]}]},
      {"token": "äb", "logprob": -1.0, "bytes": [195, 164, 98], "top_logprobs": []}]})"));
  EXPECT_TRUE(text.empty());
}

TEST(LogprobsText, CompletionsCountCharacters) {
  LogprobsText text(Endpoint::completions, 1, bytes_of, 10);
  const TokenInfo first[] = {{.id = 3, .logprob = -0.5f, .top = {{3, -0.5f}}}};
  text.add(first);
  EXPECT_EQ(Json::parse(text.take()), Json::parse(R"({"tokens": ["äb"], "token_logprobs": [-0.5],
      "top_logprobs": [{"äb": -0.5}], "text_offset": [10]})"));
  const TokenInfo rest[] = {{.id = 1, .logprob = -1.0f, .top = {{0, -0.75f}}},
                            {.id = 2, .logprob = -2.0f, .top = {{2, -2.0f}}},
                            {.id = 0, .logprob = -3.0f, .top = {{0, -3.0f}}}};
  text.add(rest);
  EXPECT_EQ(Json::parse(text.take()), Json::parse(R"({"tokens": ["bytes:\\xe2\\x82", "bytes:\\xac", "a"],
      "token_logprobs": [-1.0, -2.0, -3.0], "top_logprobs": [{"a": -0.75, "bytes:\\xe2\\x82": -1.0},
      {"bytes:\\xac": -2.0}, {"a": -3.0}], "text_offset": [12, 13, 13]})"));
}

TEST(LogprobsText, NoAlternatives) {
  LogprobsText text(Endpoint::completions, 0, bytes_of);
  const TokenInfo token[] = {{.id = 0, .logprob = -0.5f}};
  text.add(token);
  EXPECT_TRUE(Json::parse(text.take()).at("top_logprobs").is_null());
}

TEST(FinishReason, OfTheEnginesFinish) {
  EXPECT_STREQ(finish_reason(Finish::stop, false), "stop");
  EXPECT_STREQ(finish_reason(Finish::stop, true), "tool_calls");
  EXPECT_STREQ(finish_reason(Finish::length, true), "length");
  EXPECT_STREQ(finish_reason(Finish::deadline, false), "length");
}

}  // namespace
}  // namespace fastcache::server
