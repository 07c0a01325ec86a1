// SPDX-License-Identifier: Apache-2.0
// From messages to tokens to an answer and back: a random model that must call a tool does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/test_seed.h"
#include "fastcache/engine.h"
#include "model/testing/chat_templates.h"
#include "model/testing/tiny_model.h"

namespace fastcache {
namespace {

constexpr const char* kMessages = R"([{"role": "user", "content": "x"}])";
constexpr const char* kTools = R"([
  {"type": "function", "function": {"name": "switch_it", "parameters": {"type": "object",
    "properties": {"on": {"type": "boolean"}}, "required": ["on"], "additionalProperties": false}}},
  {"type": "function", "function": {"name": "colour", "parameters": {"type": "object",
    "properties": {"of": {"type": "boolean"}}, "required": ["of"], "additionalProperties": false}}}])";

class EngineChat : public testing::TestWithParam<const char*> {
 protected:
  EngineChat() {
    model::test_support::write_tiny_model(folder_.file("tiny.gguf"),
                                          {.chat_template = GetParam(), .seed = test_seed()});
    engine_.emplace(
        EngineOptions{.model = folder_.file("tiny.gguf"), .pool_bytes = size_t{4} << 20, .threads = 1});
  }

  struct Called {
    std::string name, arguments, content;
    Finish finish = Finish::failed;
  };
  Called answer(const PreparedChat& prepared, uint64_t seed, int max_tokens) {
    Request request;
    request.tokens = prepared.tokens;
    request.max_tokens = max_tokens;
    request.sampling.temperature = 1;
    request.sampling.seed = seed;
    request.sampling.grammar = prepared.grammar;
    request.sampling.json_schema = prepared.json_schema;
    // Grammars allow white space without end, and a random model likes it; what must be there still comes.
    for (const char* white : {" ", "\n", "\t"})
      request.sampling.logit_bias.push_back(
          {.token = engine_->tokenize(white, false, false).back(), .bias = -30});
    const auto parser = prepared.make_parser();
    Called called;
    const auto add = [&](const std::vector<ChatDelta>& deltas) {
      for (const ChatDelta& delta : deltas) {
        called.name += delta.tool_name;
        called.arguments += delta.tool_arguments;
        called.content += delta.content;
      }
    };
    const auto answer = engine_->submit(std::move(request));
    while (const auto delta = answer->next()) {
      add(parser->push(delta->text));
      if (delta->finished) called.finish = delta->finish;
    }
    add(parser->finish());
    return called;
  }

  model::test_support::TemporaryFolder folder_;
  std::optional<Engine> engine_;
};

TEST_P(EngineChat, ARequiredToolIsCalled) {
  int n_ended = 0;  // the others are still at white space
  for (uint64_t seed = 0; seed < 2; ++seed) {
    ChatCall call{.messages = kMessages, .tools = kTools, .tool_choice = "required"};
    const PreparedChat prepared = engine_->prepare_chat(call);
    ASSERT_FALSE(prepared.grammar.empty());
    const Called called = answer(prepared, seed, 150);
    if (called.finish != Finish::stop) continue;
    ++n_ended;
    const nlohmann::json arguments = nlohmann::json::parse(called.arguments);
    if (called.name == "switch_it") {
      EXPECT_TRUE(arguments.at("on").is_boolean());
    } else {
      EXPECT_EQ(called.name, "colour");
      EXPECT_TRUE(arguments.at("of").is_boolean());
    }
    EXPECT_EQ(called.content, "");
  }
  EXPECT_GT(n_ended, 0);
}

TEST_P(EngineChat, TheChosenToolIsCalled) {
  const PreparedChat prepared =
      engine_->prepare_chat({.messages = kMessages, .tools = kTools, .tool_choice = "colour"});
  const Called called = answer(prepared, 1, 80);
  EXPECT_EQ(called.name, "colour");
}

TEST_P(EngineChat, AnyObjectIsAnObject) {
  const PreparedChat prepared = engine_->prepare_chat({.messages = kMessages, .json_schema = "{}"});
  for (uint64_t seed = 0; seed < 2; ++seed) {
    const Called called = answer(prepared, seed, 20);
    EXPECT_EQ(called.content.substr(0, 1), "{") << called.content;
    if (called.finish != Finish::stop) continue;
    EXPECT_TRUE(nlohmann::json::parse(called.content).is_object());
  }
}

INSTANTIATE_TEST_SUITE_P(Templates, EngineChat,
                         testing::Values(model::test_support::kJsonCallsTemplate,
                                         model::test_support::kTaggedCallsTemplate,
                                         "{%- for message in messages %}{{- message.content }}{%- endfor %}"),
                         [](const auto& source) { return "template_" + std::to_string(source.index); });

}  // namespace
}  // namespace fastcache
