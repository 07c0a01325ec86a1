// SPDX-License-Identifier: Apache-2.0
#include "model/chat_json.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <exception>
#include <set>
#include <string_view>

#include "base/error.h"
#include "model/json_schema.h"
#include "model/json_text.h"

namespace fastcache::model {
namespace {

[[noreturn]] void refuse(const std::string& place, std::string_view what) {
  throw Error{Code::bad_request, fmt::format("{} {}", place, what)};
}

common_json parse(const std::string& text, const std::string& name) {
  check_json_shape(text, name);
  try {
    return common_json::parse(text);
  } catch (const std::exception& error) {
    refuse(name, fmt::format("is not JSON: {}", error.what()));
  }
}

// Null if it is not there, or null.
const common_json* member(const common_json& object, const char* key) {
  if (!object.contains(key) || object.at(key).is_null()) return nullptr;
  return &object.at(key);
}

std::string text_of(const common_json& value, const std::string& place) {
  if (!value.is_string()) refuse(place, "must be a string");
  return value.get<std::string>();
}

std::string text_member(const common_json& object, const char* key, const std::string& place) {
  const common_json* value = member(object, key);
  return value == nullptr ? "" : text_of(*value, fmt::format("{}.{}", place, key));
}

std::string type_of_part(const common_json& part, const std::string& place) {
  if (!part.is_object()) refuse(place, R"(must be an object such as {"type": "text", "text": "..."})");
  const common_json* type = member(part, "type");
  if (type == nullptr) refuse(place, "has no type; text is possible");
  return text_of(*type, place + ".type");
}

common_chat_msg_content_part parse_part(const common_json& part, const std::string& place, bool pictures) {
  const std::string type = type_of_part(part, place);
  const bool is_picture = type == "image_url" || type == "image" || type == "input_image";
  if (is_picture && pictures) return {.type = kPicturePart, .text = {}};
  if (is_picture || type == "video_url")
    throw Error{Code::unsupported,
                fmt::format("{} is {}; this model has no vision{}", place,
                            is_picture ? "an image" : "a video", is_picture ? "" : " for it")};
  if (type == "input_audio" || type == "audio" || type == "file")
    throw Error{Code::unsupported, fmt::format("{} has the type {}; this model reads {} only", place, type,
                                               pictures ? "text and images" : "text")};
  if (type != "text") refuse(place + ".type", pictures ? "must be text or image_url" : "must be text");
  const common_json* text = member(part, "text");
  if (text == nullptr) refuse(place, "has no text");
  return {.type = "text", .text = text_of(*text, place + ".text")};
}

void parse_content(const common_json& content, const std::string& place, bool pictures,
                   common_chat_msg& made) {
  if (content.is_string()) {
    made.content = content.get<std::string>();
    return;
  }
  if (!content.is_array()) refuse(place, "must be a string or an array of parts");
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", place, i);
    made.content_parts.push_back(parse_part(content[i], at, pictures));
    if (made.content_parts.back().type != kPicturePart) continue;
    if (made.role != "user") refuse(at, "is an image; only messages of the role user may have any");
  }
  const auto is_picture = [](const auto& part) { return part.type == kPicturePart; };
  if (std::any_of(made.content_parts.begin(), made.content_parts.end(), is_picture)) return;
  for (size_t i = 0; i < made.content_parts.size(); ++i)
    made.content += (i > 0 ? "\n" : "") + made.content_parts[i].text;
  made.content_parts.clear();
}

common_chat_tool_call past_call(const common_json& call, const std::string& place) {
  if (!call.is_object()) refuse(place, "must be an object");
  const common_json* type = member(call, "type");
  if (type != nullptr && text_of(*type, place + ".type") != "function")
    refuse(place + ".type", "must be function");
  const common_json* function = member(call, "function");
  if (function == nullptr || !function->is_object()) refuse(place + ".function", "must be an object");
  common_chat_tool_call made;
  made.id = text_member(call, "id", place);
  made.name = text_member(*function, "name", place + ".function");
  if (made.name.empty()) refuse(place + ".function.name", "must not be empty");
  made.arguments = "{}";
  if (const common_json* arguments = member(*function, "arguments"); arguments != nullptr) {
    if (!arguments->is_string() && !arguments->is_object())
      refuse(place + ".function.arguments", "must be a string with JSON in it");
    made.arguments = arguments->is_string() ? arguments->get<std::string>() : arguments->dump();
  }
  // Templates parse it.
  check_json_shape(made.arguments, place + ".function.arguments");
  if (made.arguments.empty()) made.arguments = "{}";
  return made;
}

void parse_past_calls(const common_json& message, const std::string& place, common_chat_msg& made) {
  const common_json* calls = member(message, "tool_calls");
  if (calls == nullptr) return;
  if (!calls->is_array()) refuse(place + ".tool_calls", "must be an array");
  if (!calls->empty() && made.role != "assistant")
    refuse(place + ".tool_calls", "can only be in a message of the role assistant");
  for (size_t i = 0; i < calls->size(); ++i)
    made.tool_calls.push_back(past_call((*calls)[i], fmt::format("{}.tool_calls[{}]", place, i)));
}

common_chat_msg parse_message(const common_json& message, const std::string& place, bool pictures) {
  if (!message.is_object()) refuse(place, "must be an object with role and content");
  common_chat_msg made;
  const common_json* role = member(message, "role");
  if (role != nullptr) made.role = text_of(*role, place + ".role");
  constexpr std::array<std::string_view, 5> kRoles = {"system", "developer", "user", "assistant", "tool"};
  if (std::find(kRoles.begin(), kRoles.end(), made.role) == kRoles.end())
    refuse(place + ".role", "must be system, developer, user, assistant or tool");
  parse_past_calls(message, place, made);
  const common_json* content = member(message, "content");
  if (content != nullptr) {
    parse_content(*content, place + ".content", pictures, made);
  } else if (made.tool_calls.empty()) {
    refuse(place + ".content", made.role == "assistant" ? "is missing, and there are no tool_calls"
                                                        : "must be a string or an array of parts");
  }
  made.reasoning_content = text_member(message, "reasoning_content", place);
  made.tool_name = text_member(message, "name", place);
  made.tool_call_id = text_member(message, "tool_call_id", place);
  return made;
}

std::vector<common_chat_msg> parse_messages(const std::string& text, bool pictures) {
  const common_json messages = parse(text, "messages");
  if (!messages.is_array() || messages.empty())
    refuse("messages", "must be an array of at least one message");
  std::vector<common_chat_msg> made;
  for (size_t i = 0; i < messages.size(); ++i)
    made.push_back(parse_message(messages[i], fmt::format("messages[{}]", i), pictures));
  return made;
}

// As OpenAI has it: names become rules of grammars and words of templates.
bool is_function_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

void check_parameters(const std::string& schema, const std::string& place) {
  try {
    grammar_of_json_schema(schema);
  } catch (const Error& error) {
    std::string_view why = error.what();
    constexpr std::string_view kName = "json_schema";
    if (why.starts_with(kName)) why.remove_prefix(kName.size());
    throw Error{error.code(), place + std::string(why)};
  }
}

common_chat_tool parse_tool(const common_json& tool, const std::string& place) {
  if (!tool.is_object())
    refuse(place, R"(must be an object such as {"type": "function", "function": {...}})");
  const common_json* type = member(tool, "type");
  if (type != nullptr && text_of(*type, place + ".type") != "function")
    refuse(place + ".type", "must be function");
  const common_json* function = member(tool, "function");
  if (function == nullptr || !function->is_object())
    refuse(place + ".function", "must be an object with a name");
  common_chat_tool made;
  const std::string inner = place + ".function";
  made.name = text_member(*function, "name", inner);
  if (!is_function_name(made.name))
    refuse(inner + ".name", "must be 1 to 64 letters, digits, underscores and hyphens");
  made.description = text_member(*function, "description", inner);
  made.parameters = "{}";
  if (const common_json* parameters = member(*function, "parameters"); parameters != nullptr) {
    if (!parameters->is_object()) refuse(inner + ".parameters", "must be a JSON schema, an object");
    made.parameters = parameters->dump();
    check_parameters(made.parameters, inner + ".parameters");
  }
  return made;
}

std::vector<common_chat_tool> parse_tools(const std::string& text) {
  if (text.empty()) return {};
  const common_json tools = parse(text, "tools");
  if (!tools.is_array()) refuse("tools", "must be an array");
  if (tools.size() > kMaxTools)
    refuse("tools", fmt::format("has {} entries; it may have at most {}", tools.size(), kMaxTools));
  std::vector<common_chat_tool> made;
  std::set<std::string> names;
  for (size_t i = 0; i < tools.size(); ++i) {
    const std::string place = fmt::format("tools[{}]", i);
    made.push_back(parse_tool(tools[i], place));
    std::string as_rule = made.back().name;  // grammars know no underscores
    std::replace(as_rule.begin(), as_rule.end(), '_', '-');
    if (!names.insert(as_rule).second)
      refuse(place + ".function.name",
             fmt::format("{} is there already (_ and - count as one)", made.back().name));
  }
  return made;
}

void choose_tool(const std::string& choice, ChatInput& input) {
  if (choice == "auto" || choice == "none" || choice == "required") {
    input.tool_choice = common_chat_tool_choice_parse_oaicompat(choice);
    if (choice == "required" && input.tools.empty())
      refuse("tool_choice", "is required, but there are no tools");
    return;
  }
  std::erase_if(input.tools, [&](const common_chat_tool& tool) { return tool.name != choice; });
  if (input.tools.empty())
    refuse("tool_choice", "must be auto, none, required or the name of one of the tools");
  input.tool_choice = COMMON_CHAT_TOOL_CHOICE_REQUIRED;
}

void parse_kwargs(const std::string& text, ChatInput& input) {
  if (text.empty()) return;
  const std::string name = "chat_template_kwargs";
  const common_json kwargs = parse(text, name);
  if (!kwargs.is_object()) refuse(name, "must be an object");
  // What the request itself says, and what the safety of the prompt rests on.
  constexpr std::array<std::string_view, 5> kReserved = {"messages", "tools", "bos_token", "eos_token",
                                                         "add_generation_prompt"};
  for (const auto& [key, value] : kwargs.items()) {
    if (std::find(kReserved.begin(), kReserved.end(), key) != kReserved.end())
      refuse(name, fmt::format("must not have {}", key));
    if (key == "enable_thinking") {
      if (!value.is_boolean()) refuse(name + ".enable_thinking", "must be true or false");
      input.enable_thinking = value.get<bool>();
    }
    input.template_kwargs[key] = value.dump();
  }
}

}  // namespace

ChatInput parse_chat(const ChatCall& call, bool pictures) {
  ChatInput input;
  input.messages = parse_messages(call.messages, pictures);
  input.tools = parse_tools(call.tools);
  choose_tool(call.tool_choice, input);
  input.parallel_tool_calls = call.parallel_tool_calls;
  parse_kwargs(call.template_kwargs, input);
  return input;
}

}  // namespace fastcache::model
