// SPDX-License-Identifier: Apache-2.0
// Conversations with tools and formats, in the JSON that OpenAI's clients send: from messages to the tokens
// and the grammar of a request, and from the text of an answer back to content and tool calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fastcache {

struct ChatCall {
  std::string messages = {};         // JSON array of {"role", "content", "tool_calls", "tool_call_id", ...}
  std::string tools = {};            // JSON array of {"type": "function", "function": {...}}; empty: none
  std::string tool_choice = "auto";  // auto, none, required, or the name of a function
  bool parallel_tool_calls = false;
  std::string json_schema = {};      // the answer follows it; "{}": any JSON object. Not together with tools
  std::string template_kwargs = {};  // JSON object for the model's template; empty: none
};

// A piece of an answer. What belongs to a tool call has tool_call >= 0.
struct ChatDelta {
  std::string content = {};
  std::string reasoning = {};
  int tool_call = -1;               // index of the call in the answer
  std::string tool_call_id = {};    // with the first piece of a call
  std::string tool_name = {};       // with the first piece
  std::string tool_arguments = {};  // JSON text, in pieces
};

// Of one answer. Owner: one thread.
class ChatParser {
 public:
  virtual ~ChatParser() = default;
  virtual std::vector<ChatDelta> push(const std::string& text) = 0;  // text: what came since the last call
  virtual std::vector<ChatDelta> finish() = 0;                       // what was held back
  virtual bool has_tool_calls() const = 0;  // then the finish reason is tool_calls where it was stop
};

struct PreparedChat {
  // For Request::tokens. Each part of the messages that is an image (image_url) has become a kPictureToken,
  // in order: Request::pictures needs them decoded. Its URL is not looked at.
  std::vector<int32_t> tokens = {};
  std::string grammar = {};                                       // for SamplingParams, or empty
  std::string json_schema = {};                                   // for SamplingParams, or empty
  std::vector<std::string> stop = {};                             // besides the user's own
  std::function<std::unique_ptr<ChatParser>()> make_parser = {};  // one for each answer; thread-safe
};

}  // namespace fastcache
