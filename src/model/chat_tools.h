// SPDX-License-Identifier: Apache-2.0
// Conversations with tools: JSON -> tokens, grammar and the reader of the answers, by the model's own
// template (libllama-common, kept behind this file). Immutable; any thread may call prepare().
//
// As in chat_template.h control tokens come from the template only: in contents, tool results, names, tools
// and template arguments their texts stay plain text. Text parts are joined by line feeds.
//
// Tools: a template that knows no tools gets them described in the system message, calls as JSON in
// <tool_call> tags. With tool_choice none they stay in the prompt (its cached prefix stays good) and calls
// are not looked for. required and a function's name give a grammar, and the model cannot reason before the
// call; auto gives none: a grammar that sets in at a certain word is more than our sampler can do, so calls
// are read but not enforced. Formats that mark calls by control tokens ([TOOL_CALLS], <|python_tag|>) are
// read only where the model spells them, because control tokens print nothing.
#pragma once

#include <memory>

#include "fastcache/chat.h"
#include "model/chat_template.h"
#include "model/vocab.h"

namespace fastcache::model {

class ChatTools {
 public:
  // Both must outlive it and stay where they are. Takes milliseconds: finds out what the template can do.
  ChatTools(const Vocab& vocab, const ChatTemplate& chat_template);

  // Throws Error: bad_request (names the place), unsupported (images). What it returns holds nothing of this
  // object. pictures: the model has a vision encoder; images become kPictureToken.
  PreparedChat prepare(const ChatCall& call, bool pictures = false) const;

 private:
  const Vocab* vocab_;
  const ChatTemplate* template_;
  bool reasons_ = false;      // answers have a part for reasoning
  bool knows_tools_ = false;  // the template describes them
};

}  // namespace fastcache::model
