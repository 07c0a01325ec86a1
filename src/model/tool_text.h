// SPDX-License-Identifier: Apache-2.0
// Tools for templates that know none: described in the system message, calls and results written into the
// contents, in the tags that many models were trained on. Inside model/ only. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "model/chat_answer.h"
#include "model/chat_json.h"

namespace fastcache::model {

bool uses_tools(const ChatInput& input);  // now or in the past

// Afterwards there are only messages that any template understands.
void write_tools_as_text(ChatInput& input);

// How the calls are read; fills grammar where a call is required. Throws Error (bad_request).
std::shared_ptr<const AnswerFormat> tool_text_format(const ChatInput& input, std::string& grammar);

}  // namespace fastcache::model
