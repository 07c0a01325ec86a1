// SPDX-License-Identifier: Apache-2.0
#include "server/api_request.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "server/json_field.h"
#include "server/testing/request_bodies.h"

namespace fastcache::server {
namespace {

using test_support::body_with;
using test_support::json_of_each_type;

CompletionCall chat(const std::string& fields, const ApiDefaults& defaults = {}) {
  return parse_completion_call(Endpoint::chat, body_with(Endpoint::chat, fields), defaults);
}
CompletionCall completion(const std::string& fields, const ApiDefaults& defaults = {}) {
  return parse_completion_call(Endpoint::completions, body_with(Endpoint::completions, fields), defaults);
}

TEST(ApiRequest, EveryFieldOfEveryTypeIsTakenOrNamed) {
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    for (const std::string& name : known_fields(endpoint)) {
      int n_refused = 0;
      for (const std::string& value : json_of_each_type()) {
        const std::string body = body_with(endpoint, "\"" + name + "\":" + value);
        try {
          parse_completion_call(endpoint, body, {});
        } catch (const ApiError& error) {
          ++n_refused;
          EXPECT_TRUE(error.code() == Code::bad_request || error.code() == Code::unsupported)
              << name << value;
          EXPECT_EQ(error.param.substr(0, name.size()), name) << name << ": " << value.substr(0, 40);
          EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
        }
      }
      EXPECT_GE(n_refused, 3) << name;  // no field takes values of so many types
    }
  }
}

TEST(ApiRequest, NullIsAbsentAndUnknownFieldsAreIgnored) {
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    std::string fields = R"("no_such_field": {"x": [1]}, "store": true, "metadata": {"a": "b"})";
    for (const std::string& name : known_fields(endpoint)) {
      if (name == "messages" || name == "prompt") continue;
      fields += ",\"" + name + "\":null";
    }
    EXPECT_NO_THROW(parse_completion_call(endpoint, body_with(endpoint, fields), {}));
  }
}

TEST(ApiRequest, DefaultsAreOpenAisUnlessTold) {
  const CompletionCall call = chat("");
  EXPECT_EQ(call.request.sampling.temperature, 1.0f);
  EXPECT_EQ(call.request.sampling.top_p, 1.0f);
  EXPECT_EQ(call.request.sampling.top_k, 0);
  EXPECT_EQ(call.request.sampling.min_p, 0.0f);
  EXPECT_EQ(call.request.sampling.logprobs, -1);
  EXPECT_EQ(call.request.n, 1);
  EXPECT_EQ(call.request.max_tokens, 0);
  EXPECT_EQ(call.request.compression.press, "none");
  EXPECT_TRUE(std::isinf(call.request.deadline_ms));
  EXPECT_FALSE(call.stream || call.include_usage || call.has_seed);
  EXPECT_EQ(completion("").request.max_tokens, 16);

  ApiDefaults defaults;
  defaults.sampling.temperature = 0.25f;
  defaults.max_tokens = 99;
  defaults.compression = {.press = "knorm", .ratio = 0.5};
  EXPECT_EQ(chat("", defaults).request.sampling.temperature, 0.25f);
  EXPECT_EQ(chat("\"temperature\": 0.5", defaults).request.sampling.temperature, 0.5f);
  EXPECT_EQ(completion("", defaults).request.max_tokens, 99);
  EXPECT_EQ(chat("", defaults).request.compression.press, "knorm");
  EXPECT_EQ(chat(R"("kv_compression": "none")", defaults).request.compression.press, "none");
}

TEST(ApiRequest, FieldsArriveWhereTheyBelong) {
  const CompletionCall call = chat(R"(
      "model": "m", "temperature": 0.5, "top_p": 0.25, "min_p": 0.125, "top_k": 7, "seed": -2,
      "repetition_penalty": 1.5, "presence_penalty": -2, "frequency_penalty": 2, "ignore_eos": true,
      "min_tokens": 3, "logit_bias": {"5": -100, "6": 1.5}, "logprobs": true, "top_logprobs": 4,
      "max_tokens": 10, "max_completion_tokens": 20, "n": 3, "stop": ["a", "b"], "stream": true,
      "stream_options": {"include_usage": true}, "user": "u", "cache_salt": "salt", "priority": -7,
      "deadline_ms": 5000, "timeout": 2, "kv_compression": {"method": "knorm", "ratio": 0.5},
      "chat_template_kwargs": {"enable_thinking": false}, "parallel_tool_calls": true)");
  const SamplingParams& s = call.request.sampling;
  EXPECT_EQ(call.model, "m");
  EXPECT_EQ(s.temperature, 0.5f);
  EXPECT_EQ(s.top_p, 0.25f);
  EXPECT_EQ(s.min_p, 0.125f);
  EXPECT_EQ(s.top_k, 7);
  EXPECT_TRUE(call.has_seed);
  EXPECT_EQ(s.seed, static_cast<uint64_t>(-2));
  EXPECT_EQ(s.repetition_penalty, 1.5f);
  EXPECT_EQ(s.presence_penalty, -2.0f);
  EXPECT_EQ(s.frequency_penalty, 2.0f);
  EXPECT_TRUE(s.ignore_eos);
  EXPECT_EQ(s.min_tokens, 3);
  ASSERT_EQ(s.logit_bias.size(), 2u);
  EXPECT_EQ(s.logit_bias[1].token, 6);
  EXPECT_EQ(s.logit_bias[1].bias, 1.5f);
  EXPECT_EQ(s.logprobs, 4);
  EXPECT_EQ(call.request.max_tokens, 20);
  EXPECT_EQ(call.request.n, 3);
  EXPECT_EQ(call.request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(call.stream && call.include_usage);
  EXPECT_EQ(call.request.tenant, "salt");
  EXPECT_EQ(call.request.priority, -7);
  EXPECT_EQ(call.request.deadline_ms, 2000);
  EXPECT_EQ(call.request.compression.ratio, 0.5);
  EXPECT_EQ(call.chat.template_kwargs, R"({"enable_thinking":false})");
  EXPECT_TRUE(call.chat.parallel_tool_calls);
  EXPECT_EQ(call.chat.messages, R"([{"role":"user","content":"hello"}])");
}

TEST(ApiRequest, PromptsOfAllForms) {
  const auto prompts = [](const std::string& json) {
    return parse_completion_call(Endpoint::completions, "{\"prompt\":" + json + "}", {}).prompts;
  };
  EXPECT_EQ(prompts("\"one\"").at(0).text, "one");
  EXPECT_EQ(prompts(R"(["one", "two"])").at(1).text, "two");
  EXPECT_EQ(prompts("[3, 4, 5]").at(0).tokens, (std::vector<int32_t>{3, 4, 5}));
  EXPECT_EQ(prompts("[[3, 4], [5]]").at(1).tokens, (std::vector<int32_t>{5}));
  EXPECT_EQ(prompts(R"([[3], "mixed"])").size(), 2u);
  for (const char* bad :
       {"[]", "[[]]", "\"\"", "[\"\"]", "[1.5]", "[-1]", "[1, \"a\"]", "[4294967296]", "{}"})
    EXPECT_THROW(prompts(bad), ApiError) << bad;
}

TEST(ApiRequest, ResponseFormats) {
  const std::string schema =
      R"("response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"z": 1, "a": 2}}})";
  EXPECT_EQ(chat(schema).chat.json_schema, R"({"z":1,"a":2})");
  EXPECT_EQ(completion(schema).request.sampling.json_schema, R"({"z":1,"a":2})");
  EXPECT_EQ(chat(R"("response_format": {"type": "json_object"})").chat.json_schema, "{}");
  EXPECT_EQ(chat(R"("response_format": {"type": "text"})").chat.json_schema, "");
}

TEST(ApiRequest, Tools) {
  const std::string tools =
      R"("tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])";
  EXPECT_EQ(chat(tools).chat.tool_choice, "auto");
  EXPECT_EQ(chat(tools).chat.tools,
            R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])");
  EXPECT_EQ(chat(tools + R"(, "tool_choice": "required")").chat.tool_choice, "required");
  EXPECT_EQ(
      chat(tools + R"(, "tool_choice": {"type": "function", "function": {"name": "f"}})").chat.tool_choice,
      "f");
  EXPECT_EQ(chat("\"tools\": []").chat.tools, "");
}

TEST(ApiRequest, PicturesAreTakenOutOfTheMessages) {
  const CompletionCall call = chat(R"("messages": [
      {"role": "system", "content": "look"},
      {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:;base64,AAAA"}},
                                   {"type": "text", "text": "what?"},
                                   {"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}}]},
      {"role": "assistant", "content": "that"},
      {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "b.png", "detail": null}}]}])");
  ASSERT_EQ(call.pictures.size(), 3u);
  EXPECT_EQ(call.pictures[0].url, "data:;base64,AAAA");
  EXPECT_EQ(call.pictures[0].path, "messages[1].content[0].image_url.url");
  EXPECT_EQ(call.pictures[0].detail, "auto");
  EXPECT_EQ(call.pictures[1].url, "a.png");
  EXPECT_EQ(call.pictures[1].detail, "low");
  EXPECT_EQ(call.pictures[2].path, "messages[3].content[0].image_url.url");
  EXPECT_EQ(call.chat.messages,
            R"([{"role":"system","content":"look"},{"role":"user","content":[{"type":"image_url"},)"
            R"({"type":"text","text":"what?"},{"type":"image_url"}]},{"role":"assistant","content":"that"},)"
            R"({"role":"user","content":[{"type":"image_url"}]}])");
  EXPECT_TRUE(chat("\"n\": 1").pictures.empty());
}

TEST(ApiRequest, WhatCannotBeObeyedIsRefusedByName) {
  const std::string tools = R"("tools": [{"type": "function", "function": {"name": "f"}}])";
  const std::pair<std::string, std::string> chats[] = {
      {R"("messages": [])", "messages"},
      {R"("messages": [{"content": "x"}])", "messages[0].role"},
      {R"("messages": [{"role": "user"}])", "messages[0].content"},
      {R"("messages": [{"role": "user", "content": [{"type": "text"}]}])", "messages[0].content[0].text"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": ""}}]}])",
       "messages[0].content[0].image_url.url"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:"}]}])",
       "messages[0].content[0].image_url"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url"}]}])",
       "messages[0].content[0].image_url"},
      {R"("messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a", "detail": "x"}}]}])",
       "messages[0].content[0].image_url.detail"},
      {R"("messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])",
       "messages[0].content[0].type"},
      {R"("tool_choice": "required")", "tool_choice"},
      {R"("tool_choice": "sometimes")", "tool_choice"},
      {tools + R"(, "tool_choice": {"type": "function", "function": {"name": "g"}})",
       "tool_choice.function.name"},
      {tools + R"(, "response_format": {"type": "json_object"})", "response_format"},
      {R"("tools": [{"type": "function", "function": {"name": "none"}}])", "tools[0].function.name"},
      {R"("tools": [{"type": "function", "function": {"name": "a b"}}])", "tools[0].function.name"},
      {R"("tools": [{"type": "retrieval"}])", "tools[0].type"},
      {R"("response_format": {"type": "xml"})", "response_format.type"},
      {R"("response_format": {"type": "json_schema"})", "response_format.json_schema"},
      {R"("response_format": {"type": "json_object"}, "grammar": "root ::= \"a\"")", "grammar"},
      {R"("top_logprobs": 2)", "top_logprobs"},
      {R"("stream_options": {"include_usage": true})", "stream_options"},
      {R"("audio": {"voice": "x"})", "audio"},
      {R"("modalities": ["text", "audio"])", "modalities[1]"},
      {R"("functions": [])", "functions"},
      {R"("logit_bias": {"x": 1})", "logit_bias"},
      {R"("logit_bias": {"5": 101})", "logit_bias.5"},
      {R"("stop": ["a", 7])", "stop[1]"},
  };
  for (const auto& [fields, param] : chats) {
    try {
      chat(fields);
      ADD_FAILURE() << fields;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.param, param) << error.what();
    }
  }
  const std::pair<std::string, std::string> completions[] = {
      {R"("suffix": "x")", "suffix"},
      {R"("best_of": 3, "n": 2)", "best_of"},
      {R"("echo": true, "logprobs": 1)", "echo"},
      {R"("logprobs": true)", "logprobs"},
      {R"("prompt": [[3]], "n": 65)", "n"},
      {R"("prompt": ["a", "b", "c", "d", "e"], "n": 64)", "n"},
  };
  for (const auto& [fields, param] : completions) {
    try {
      completion(fields);
      ADD_FAILURE() << fields;
    } catch (const ApiError& error) {
      EXPECT_EQ(error.param, param) << error.what();
    }
  }
  EXPECT_NO_THROW(completion(R"("best_of": 2, "n": 2, "suffix": "")"));
  EXPECT_NO_THROW(chat(R"("modalities": ["text"], "use_beam_search": false)"));
}

TEST(ApiRequest, FieldsHaveOneRowEach) {
  for (Endpoint endpoint : {Endpoint::chat, Endpoint::completions}) {
    const std::vector<std::string> names = known_fields(endpoint);
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size());
  }
}

}  // namespace
}  // namespace fastcache::server
