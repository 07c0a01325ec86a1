// SPDX-License-Identifier: Apache-2.0
// All texts of a conversation that reach the template. Inside JSON a control text may be written with
// escapes, which the template resolves: strings are looked at as they read once parsed.
#include <exception>

#include "model/chat_json.h"

namespace fastcache::model {
namespace {

class Disarmer {
 public:
  Disarmer(const ControlTexts& controls, Disarmed& disarmed) : controls_(controls), disarmed_(disarmed) {}

  void text(std::string& text) { text = disarmed_.disarm(controls_, text); }

  // Left as it is written where there is nothing to disarm. What is not JSON is a text.
  void json_text(std::string& text) {
    const size_t found_before = disarmed_.n_found();
    common_json safe;
    try {
      safe = value(common_json::parse(text));
    } catch (const std::exception&) {
      return this->text(text);
    }
    if (disarmed_.n_found() > found_before) {
      text = safe.dump();
    } else {
      this->text(text);  // a control text that has JSON's own characters in it
    }
  }

 private:
  common_json value(const common_json& json) {
    if (json.is_string()) return common_json(disarmed_.disarm(controls_, json.get<std::string>()));
    if (json.is_array()) {
      common_json safe = common_json::array();
      for (size_t i = 0; i < json.size(); ++i) safe.push_back(value(json[i]));
      return safe;
    }
    if (json.is_object()) {
      common_json safe = common_json::object();
      for (const auto& [key, inner] : json.items()) safe[disarmed_.disarm(controls_, key)] = value(inner);
      return safe;
    }
    return json;
  }

  const ControlTexts& controls_;
  Disarmed& disarmed_;
};

}  // namespace

ChatInput disarm(const ChatInput& input, const ControlTexts& controls, Disarmed& disarmed) {
  ChatInput safe = input;
  Disarmer disarmer(controls, disarmed);
  for (common_chat_msg& message : safe.messages) {
    for (std::string* text :
         {&message.content, &message.reasoning_content, &message.tool_name, &message.tool_call_id})
      disarmer.text(*text);
    if (!message.content_parts.empty()) {
      std::vector<ChatPart> parts;
      for (common_chat_msg_content_part& part : message.content_parts)
        parts.push_back({.text = std::move(part.text), .is_picture = part.type == kPicturePart});
      message.content = disarmed.join(controls, parts);
      message.content_parts.clear();
    }
    for (common_chat_tool_call& call : message.tool_calls) {
      for (std::string* text : {&call.name, &call.id}) disarmer.text(*text);
      disarmer.json_text(call.arguments);
    }
  }
  for (common_chat_tool& tool : safe.tools) {
    for (std::string* text : {&tool.name, &tool.description}) disarmer.text(*text);
    disarmer.json_text(tool.parameters);
  }
  for (auto& [key, value] : safe.template_kwargs) disarmer.json_text(value);
  return safe;
}

}  // namespace fastcache::model
