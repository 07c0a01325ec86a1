// SPDX-License-Identifier: Apache-2.0
#include "model/tool_text.h"

#include <chat-peg-parser.h>         // of llama-common
#include <json-schema-to-grammar.h>  // of llama-common
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <exception>
#include <string_view>

#include "base/error.h"

namespace fastcache::model {
namespace {

constexpr std::string_view kCallBegin = "<tool_call>\n", kCallEnd = "\n</tool_call>";

std::string describe_tools(const ChatInput& input) {
  std::string text = "You can call functions. These are there, one per line:\n<tools>\n";
  for (const common_chat_tool& tool : input.tools) {
    common_json described{{"name", tool.name}, {"description", tool.description}};
    described["parameters"] = common_json::parse(tool.parameters);
    text += described.dump() + "\n";
  }
  text += "</tools>\nTo call a function, write its name and its arguments as JSON between tags:\n";
  text += kCallBegin;
  text += R"({"name": "the name", "arguments": {"an argument": "its value"}})";
  text += kCallEnd;
  return text;
}

// The arguments are JSON, unless a client made them up.
std::string call_text(const common_chat_tool_call& call) {
  const bool is_json = !common_json::parse_no_throw(call.arguments).is_discarded();
  return fmt::format("{}{{\"name\": {}, \"arguments\": {}}}{}", kCallBegin, common_json(call.name).dump(),
                     is_json ? call.arguments : common_json(call.arguments).dump(), kCallEnd);
}

common_chat_msg as_text(const common_chat_msg& message) {
  common_chat_msg text;
  text.role = message.role;
  text.content = message.content;
  text.content_parts = message.content_parts;
  text.reasoning_content = message.reasoning_content;
  for (const common_chat_tool_call& call : message.tool_calls) {
    if (!text.content.empty()) text.content += '\n';
    text.content += call_text(call);
  }
  if (message.role == "tool") {
    text.role = "user";
    text.content = fmt::format("<tool_response>\n{}\n</tool_response>", message.content);
  }
  return text;
}

void add_to_system_message(const std::string& text, std::vector<common_chat_msg>& messages) {
  if (messages.front().role == "system" || messages.front().role == "developer") {
    messages.front().content += "\n\n" + text;
    return;
  }
  common_chat_msg system;
  system.role = "system";
  system.content = text;
  messages.insert(messages.begin(), std::move(system));
}

}  // namespace

bool uses_tools(const ChatInput& input) {
  return !input.tools.empty() ||
         std::any_of(input.messages.begin(), input.messages.end(), [](const common_chat_msg& message) {
           return message.role == "tool" || !message.tool_calls.empty();
         });
}

void write_tools_as_text(ChatInput& input) {
  std::vector<common_chat_msg> messages;
  bool after_result = false;
  for (const common_chat_msg& message : input.messages) {
    common_chat_msg text = as_text(message);
    const bool is_result = message.role == "tool";
    if (is_result && after_result) {  // many templates want user and assistant in turn
      messages.back().content += "\n" + text.content;
    } else {
      messages.push_back(std::move(text));
    }
    after_result = is_result;
  }
  if (!input.tools.empty()) add_to_system_message(describe_tools(input), messages);
  input.messages = std::move(messages);
  input.tools.clear();
}

std::shared_ptr<const AnswerFormat> tool_text_format(const ChatInput& input, std::string& grammar) {
  auto format = std::make_shared<AnswerFormat>();
  for (const common_chat_tool& tool : input.tools) format->tool_names.insert(tool.name);
  const bool must_call = input.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  try {
    format->rules = build_chat_peg_parser([&](common_chat_peg_builder& p) {
      const auto call = p.standard_json_tools("<tool_call>", "</tool_call>",
                                              common_chat_tools_to_json_oaicompat(input.tools), false, true);
      const auto calls = input.parallel_tool_calls ? p.one_or_more(call + p.space()) : call + p.space();
      if (must_call) return calls + p.end();
      return p.optional(p.content(p.until("<tool_call>"))) + p.optional(calls) + p.end();
    });
    if (must_call) {
      grammar = build_grammar(
          [&](const common_grammar_builder& builder) { format->rules.build_grammar(builder, false); });
    }
  } catch (const std::exception& error) {
    throw Error{Code::bad_request, fmt::format("tools: {}", error.what())};
  }
  return format;
}

}  // namespace fastcache::model
