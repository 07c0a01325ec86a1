// SPDX-License-Identifier: Apache-2.0
// The JSON of a conversation, checked, as libllama-common wants it. Inside model/ only. Thread-safe.
#pragma once

#include <chat.h>  // of llama-common

#include <map>
#include <string>
#include <vector>

#include "fastcache/chat.h"
#include "model/control_texts.h"

namespace fastcache::model {

inline constexpr size_t kMaxTools = 128;

struct ChatInput {
  // Content parts joined by line feeds; messages with pictures have them as parts, of the types text and
  // kPicturePart.
  std::vector<common_chat_msg> messages = {};
  std::vector<common_chat_tool> tools = {};  // parameters: JSON text
  common_chat_tool_choice tool_choice = COMMON_CHAT_TOOL_CHOICE_AUTO;
  bool parallel_tool_calls = false;
  std::map<std::string, std::string> template_kwargs = {};  // values: JSON text
  bool enable_thinking = true;

  bool calls_tools() const { return !tools.empty() && tool_choice != COMMON_CHAT_TOOL_CHOICE_NONE; }
};

inline constexpr const char* kPicturePart = "picture";

// Throws Error (bad_request, unsupported) that names the place: "messages[2].content must be ...".
// pictures: the model has a vision encoder.
ChatInput parse_chat(const ChatCall& call, bool pictures = false);

// The same with the control texts in all that is rendered taken out, and marks in place of pictures.
ChatInput disarm(const ChatInput& input, const ControlTexts& controls, Disarmed& disarmed);

}  // namespace fastcache::model
