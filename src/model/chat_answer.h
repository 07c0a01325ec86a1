// SPDX-License-Identifier: Apache-2.0
// The text of an answer -> content, reasoning and tool calls, while it comes. Inside model/ only.
#pragma once

#include <chat.h>  // of llama-common

#include <memory>
#include <set>
#include <string>

#include "fastcache/chat.h"

namespace fastcache::model {

// How the answers to one request are read. Immutable, shared by its parsers on any threads.
struct AnswerFormat {
  common_chat_format format = COMMON_CHAT_FORMAT_PEG_NATIVE;  // which of libllama-common's readings
  std::string generation_prompt = {};  // stands before the answer: the rules begin there
  common_peg_arena rules = {};
  std::set<std::string> tool_names = {};
};

// What an answer, whole or its beginning, says.
struct ReadAnswer {
  bool failed = false;    // against the rules; the rest is then meaningless
  bool complete = false;  // as far as the rules go; else something was begun
  common_chat_msg message = {};
  // Bytes of the text up to the end of the last piece that is in the message. What follows is markup, or
  // something begun.
  size_t covered = 0;
  bool call_begun = false;  // a call whose name is not sure yet; it is not in the message
};
ReadAnswer read_answer(const AnswerFormat& format, const std::string& text);

// Everything is content.
std::unique_ptr<ChatParser> make_content_parser();

// What was said stays said: the pieces of an answer, put together, are what the whole text says, wherever
// it was cut. A text that leaves the rules goes on as content, with what was begun but not handed out. Calls
// without an id get one.
// Cost: the rules read from the beginning each time, so long answers are read at growing intervals (1/128 of
// the length, above 8 KiB).
std::unique_ptr<ChatParser> make_answer_parser(std::shared_ptr<const AnswerFormat> format);

}  // namespace fastcache::model
