// SPDX-License-Identifier: Apache-2.0
// Answers read back: whatever way they are cut, whatever the model wrote.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <random>

#include "base/test_seed.h"
#include "model/chat_tools.h"
#include "model/testing/chat_templates.h"
#include "model/testing/tiny_model.h"

namespace fastcache::model {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kTools = R"([
  {"type": "function", "function": {"name": "get", "parameters": {"type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}},
  {"type": "function", "function": {"name": "get_all", "parameters": {"type": "object",
    "properties": {"list": {"type": "array", "items": {"type": "string"}}}}}}])";

struct Kind {
  const char* name;
  const char* source;  // empty: the template of models that have none
};
constexpr Kind kKinds[] = {{"json", test_support::kJsonCallsTemplate},
                           {"reasoning", test_support::kReasoningTemplate},
                           {"tagged", test_support::kTaggedCallsTemplate},
                           {"none", "{%- for message in messages %}{{- message.content }}{%- endfor %}"}};

struct Call {
  std::string name, arguments;
  bool operator==(const Call&) const = default;
};
struct Whole {
  std::string content, reasoning;
  std::vector<Call> calls;
  bool operator==(const Whole&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Whole& whole) {
    out << "content «" << whole.content << "» reasoning «" << whole.reasoning << "»";
    for (const Call& call : whole.calls) out << " call " << call.name << " «" << call.arguments << "»";
    return out;
  }
};

class AnswersOf : public testing::TestWithParam<Kind> {
 protected:
  AnswersOf() {
    test_support::write_tiny_model(folder_.file("tiny.gguf"),
                                   {.n_layers = 1, .chat_template = GetParam().source});
    const GgufFile file(folder_.file("tiny.gguf"));
    const Vocab vocab(file);
    const ChatTemplate chat(vocab);
    prepared_ = ChatTools(vocab, chat)
                    .prepare({.messages = R"([{"role": "user", "content": "x"}])",
                              .tools = kTools,
                              .parallel_tool_calls = true});
  }

  static void add(const std::vector<ChatDelta>& deltas, Whole& whole) {
    for (const ChatDelta& delta : deltas) {
      whole.content += delta.content;
      whole.reasoning += delta.reasoning;
      if (delta.tool_call < 0) {
        EXPECT_EQ(delta.tool_arguments + delta.tool_name, "");
        continue;
      }
      const auto index = static_cast<size_t>(delta.tool_call);
      ASSERT_LE(index, whole.calls.size());
      if (index == whole.calls.size()) {
        EXPECT_FALSE(delta.tool_call_id.empty());
        whole.calls.push_back({.name = delta.tool_name, .arguments = {}});
      } else {
        EXPECT_EQ(delta.tool_name + delta.tool_call_id, "");
      }
      whole.calls[index].arguments += delta.tool_arguments;
    }
  }

  Whole read(const std::vector<std::string>& pieces) const {
    Whole whole;
    const auto parser = prepared_.make_parser();
    for (const std::string& piece : pieces) add(parser->push(piece), whole);
    add(parser->finish(), whole);
    EXPECT_EQ(parser->has_tool_calls(), !whole.calls.empty());
    return whole;
  }

  // A call in this family's own way.
  static std::string call(const std::string& name, const std::string& key, const std::string& value) {
    if (std::string_view(GetParam().name) == "tagged") {
      return "<tool_call>\n<call:" + name + ">\n<argument:" + key + ">\n" + value +
             "\n</argument>\n</call>\n</tool_call>";
    }
    const std::string quoted = key == "city" ? "\"" + value + "\"" : value;
    return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": {\"" + key + "\": " + quoted +
           "}}\n</tool_call>";
  }

  static std::vector<std::string> texts() {
    const std::string rome = call("get", "city", "Rome"), list = call("get_all", "list", R"(["a [", "b"])");
    return {
        "",
        "Plain text with a < and {braces} [brackets] and \xF0\x9F\x98\x80.",
        rome,
        "Let me see.\n" + rome,
        rome + "\n" + list,
        call("get", "city", "R\xC3\xB6m \xE2\x82\xAC \\n\\u00e4"),
        "<think>\nHm, <tool_call> or not?\n</think>\n\nThe answer.",
        "<think>\nHm.\n</think>\n\n" + rome,
        "<think>\nnever ended",
        rome.substr(0, rome.size() - 20),
        rome.substr(0, 14),
        "Text, then half a tag <tool_c",
        "<tool_call>\n{\"name\": \"nobody\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>\n{\"name\": \"get_al",
        "<tool_call>\nnot JSON at all</tool_call> and more",
        rome + " and then he talks on \xF0\x9F\x98\x80",
        "before " + call("get", "city", "a") + "<tool_call>{\"name\": 3}</tool_call>",
        "<tool_call>\n{\"name\": \"get\", \"arguments\": {\"city\": " + std::string(1000, '[') + "1",
        "</tool_call></think><think>",
    };
  }

  test_support::TemporaryFolder folder_;
  PreparedChat prepared_;
};

// Not inside of a character: the engine hands out whole ones.
std::vector<std::string> cut(const std::string& text, std::mt19937_64& random, size_t longest) {
  std::vector<std::string> pieces;
  for (size_t i = 0; i < text.size();) {
    size_t n = 1 + random() % longest;
    while (i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xC0) == 0x80) ++n;
    pieces.push_back(text.substr(i, n));
    i += pieces.back().size();
  }
  return pieces;
}

TEST_P(AnswersOf, DoNotDependOnTheCuts) {
  std::mt19937_64 random(test_seed());
  for (const std::string& text : texts()) {
    const Whole whole = read({text});
    for (const size_t longest : {1u, 3u, 9u, 40u}) {
      for (int round = 0; round < (longest == 1 ? 1 : 6); ++round)
        ASSERT_EQ(read(cut(text, random, longest)), whole) << "text «" << text << "» longest " << longest;
    }
  }
}

TEST_P(AnswersOf, HaveTheCallsThatTheModelWrote) {
  const Whole one = read({"Let me see.\n" + call("get", "city", "Rome")});
  ASSERT_EQ(one.calls.size(), 1u) << one;
  EXPECT_EQ(one.calls[0].name, "get");
  EXPECT_THAT(one.calls[0].arguments, HasSubstr("\"Rome\""));
  EXPECT_THAT(one.content, StartsWith("Let me see."));
  EXPECT_EQ(one.content.find("tool_call"), std::string::npos) << one;
  const Whole two = read({call("get", "city", "Rome") + "\n" + call("get_all", "list", "[\"a\"]")});
  ASSERT_EQ(two.calls.size(), 2u) << two;
  EXPECT_EQ(two.calls[1].name, "get_all");
  EXPECT_THAT(two.calls[1].arguments, HasSubstr("[\"a\"]"));
}

TEST_P(AnswersOf, LoseNothingThatIsNoCall) {
  for (const char* text : {"Plain text with a < and {braces} [brackets].", "Text, then half a tag <tool_c",
                           "<tool_call>\n{\"name\": \"nobody\", \"arguments\": {}}\n</tool_call>",
                           "<tool_call>\nnot JSON</tool_call> more", "<tool_call>\n{\"na"}) {
    const Whole whole = read({text});
    EXPECT_EQ(whole.content, text);
    EXPECT_TRUE(whole.calls.empty()) << whole;
  }
  const Whole talks = read({call("get", "city", "Rome") + " and then he talks on"});
  EXPECT_EQ(talks.calls.size(), 1u);
  EXPECT_THAT(talks.content, HasSubstr("and then he talks on"));
}

TEST_P(AnswersOf, RandomTextsAreReadTheSameInPieces) {
  std::mt19937_64 random(test_seed());
  const std::vector<std::string> words = {"<tool_call>",
                                          "</tool_call>",
                                          "\n",
                                          "{\"name\": \"",
                                          "get",
                                          "_all",
                                          "\"",
                                          ", \"arguments\": ",
                                          "{",
                                          "}",
                                          "{\"city\": \"",
                                          "x",
                                          "<think>",
                                          "</think>",
                                          " ",
                                          "<call:",
                                          ">",
                                          "<argument:",
                                          "city",
                                          "</argument>",
                                          "</call>",
                                          "\xE2\x82\xAC",
                                          "[",
                                          "]",
                                          ":",
                                          "3"};
  for (int round = 0; round < 60; ++round) {
    std::string text;
    for (size_t i = 0, n = random() % 25; i < n; ++i) text += words[random() % words.size()];
    const Whole whole = read({text});
    ASSERT_EQ(read(cut(text, random, 1 + random() % 10)), whole) << "text «" << text << "»";
  }
}

TEST_P(AnswersOf, LongOnesAndDeepOnesAreRead) {
  std::mt19937_64 random(test_seed());
  std::string text = "Start. ";
  while (text.size() < 40'000) text += "word " + std::to_string(random() % 1000) + ", ";
  const Whole whole = read(cut(text, random, 12));
  EXPECT_EQ(whole.content, text);
  std::string value;
  while (value.size() < 20'000) value += "letters ";
  const Whole call_whole = read(cut(call("get", "city", value), random, 12));
  ASSERT_EQ(call_whole.calls.size(), 1u);
  EXPECT_THAT(call_whole.calls[0].arguments, HasSubstr(value));
  const std::string brackets(100'000, '[');
  EXPECT_EQ(read({brackets}).content, brackets);
  read({call("get", "days", brackets)});
}

INSTANTIATE_TEST_SUITE_P(Templates, AnswersOf, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST(ChatAnswer, ReasoningIsTakenApart) {
  test_support::TemporaryFolder folder;
  test_support::write_tiny_model(folder.file("tiny.gguf"),
                                 {.n_layers = 1, .chat_template = test_support::kReasoningTemplate});
  const GgufFile file(folder.file("tiny.gguf"));
  const Vocab vocab(file);
  const ChatTemplate chat(vocab);
  const ChatTools tools(vocab, chat);
  const auto parser = tools.prepare({.messages = R"([{"role": "user", "content": "x"}])"}).make_parser();
  std::string reasoning, content;
  for (const char* piece : {"<thi", "nk>\nHm", ".\n</thi", "nk>\n\nThe ", "answer."}) {
    for (const ChatDelta& delta : parser->push(piece)) {
      reasoning += delta.reasoning;
      content += delta.content;
    }
  }
  for (const ChatDelta& delta : parser->finish()) content += delta.content;
  EXPECT_THAT(reasoning, HasSubstr("Hm."));
  EXPECT_EQ(reasoning.find("think"), std::string::npos);
  EXPECT_EQ(content, "The answer.");
}

}  // namespace
}  // namespace fastcache::model
