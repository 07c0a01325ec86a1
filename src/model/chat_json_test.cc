// SPDX-License-Identifier: Apache-2.0
// What is no conversation is refused, and the error says where it is wrong.
#include "model/chat_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace fastcache::model {
namespace {

using testing::HasSubstr;

constexpr const char* kWeather = R"([{"type": "function", "function": {"name": "weather"}}])";

struct WrongCall {
  ChatCall call;
  const char* why;
  Code code = Code::bad_request;
};

void expect_refused(const WrongCall& wrong) {
  try {
    parse_chat(wrong.call);
    ADD_FAILURE() << "accepted: " << wrong.call.messages.substr(0, 200) << wrong.call.tools.substr(0, 200);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), wrong.code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(wrong.why));
  }
}

TEST(ChatJson, WrongMessagesAreRefusedWithTheirPlace) {
  const std::vector<std::pair<std::string, const char*>> wrong = {
      {"", "messages is not JSON"},
      {"{}", "messages must be an array"},
      {"[]", "messages must be an array"},
      {"[3]", "messages[0] must be an object"},
      {R"([{"content": "x"}])", "messages[0].role must be"},
      {R"([{"role": "user", "content": "x"}, {"role": "king", "content": "x"}])", "messages[1].role must be"},
      {R"([{"role": "user"}])", "messages[0].content must be"},
      {R"([{"role": "assistant", "content": null}])", "messages[0].content is missing"},
      {R"([{"role": "user", "content": 3}])", "messages[0].content must be"},
      {R"([{"role": "user", "content": [3]}])", "messages[0].content[0] must be"},
      {R"([{"role": "user", "content": [{"type": "text"}]}])", "messages[0].content[0] has no text"},
      {R"([{"role": "user", "content": [{"type": "sonnet"}]}])", "messages[0].content[0].type must be text"},
      {R"([{"role": "user", "content": "x", "name": 3}])", "messages[0].name must be a string"},
      {R"([{"role": "user", "content": "x", "tool_calls": [3]}])", "messages[0].tool_calls can only"},
      {R"([{"role": "assistant", "tool_calls": 3}])", "messages[0].tool_calls must be an array"},
      {R"([{"role": "assistant", "tool_calls": [{}]}])", "messages[0].tool_calls[0].function must be"},
      {R"([{"role": "assistant", "tool_calls": [{"function": {}}]}])", "tool_calls[0].function.name must"},
      {"[{\"role\": \"user\", \"content\": \"\xFF\"}]", "not valid UTF-8 at byte"},
      {std::string(5000, '['), "nested 5000 deep"},
  };
  for (const auto& [messages, why] : wrong) expect_refused({{.messages = messages}, why});
  expect_refused({{.messages = R"([{"role": "user", "content": [{"type": "image_url",
                                   "image_url": {"url": "data:"}}]}])"},
                  "no vision",
                  Code::unsupported});
  std::string members = R"([{"role": "user", "content": "x")";
  for (int i = 0; i < 2000; ++i) members += ", \"k" + std::to_string(i) + "\": 1";
  expect_refused({{.messages = members + "}]"}, "2002 members"});
  const std::string deep = R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f",
                                "arguments": ")" +
                           std::string(5000, '[') + R"("}}]}])";
  expect_refused({{.messages = deep}, "arguments is nested 5000 deep"});
}

TEST(ChatJson, WrongToolsAreRefusedWithTheirPlace) {
  const auto tool = [](const std::string& function) {
    return R"([{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": )" +
           function + "}]";
  };
  std::string many = "[";
  for (int i = 0; i < 129; ++i) {
    many += (i > 0 ? "," : "") + std::string(R"({"type": "function", "function": {"name": "f)") +
            std::to_string(i) + "\"}}";
  }
  const std::vector<std::pair<std::string, const char*>> wrong = {
      {"{", "tools is not JSON"},
      {"{}", "tools must be an array"},
      {"[{\"type\": \"code\"}]", "tools[0].type must be function"},
      {tool("3"), "tools[1].function must be an object"},
      {tool("{}"), "tools[1].function.name must be"},
      {tool(R"({"name": "a b"})"), "tools[1].function.name must be"},
      {tool(R"({"name": "a"})"), "tools[1].function.name a is there already"},
      {tool(R"({"name": "b", "parameters": []})"), "tools[1].function.parameters must be"},
      {tool(R"({"name": "b", "parameters": {"type": "nonsense"}})"), "tools[1].function.parameters: "},
      {tool(R"({"name": "b", "parameters": {"$ref": "#/nowhere"}})"), "tools[1].function.parameters: "},
      {many + "]", "tools has 129 entries"},
  };
  const std::string messages = R"([{"role": "user", "content": "x"}])";
  for (const auto& [tools, why] : wrong) expect_refused({{.messages = messages, .tools = tools}, why});
  expect_refused({{.messages = messages, .tools = kWeather, .tool_choice = "snow"}, "tool_choice must be"});
  expect_refused({{.messages = messages, .tool_choice = "required"}, "there are no tools"});
  for (const char* kwargs : {"3", "[", R"({"messages": []})", R"({"enable_thinking": 3})"})
    expect_refused({{.messages = messages, .template_kwargs = kwargs}, "chat_template_kwargs"});
}

}  // namespace
}  // namespace fastcache::model
