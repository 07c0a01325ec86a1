// SPDX-License-Identifier: Apache-2.0
// Messages -> prompt text, by the model's own Jinja template (libllama-common, kept behind this file).
// Immutable; any thread may call apply().
//
// Control tokens in user text: the template writes its control tokens ("<|im_start|>") as text, so the prompt
// must be tokenized with parse_special, and then a user who types "<|im_end|>" makes a control token too: he
// could end his turn and speak as the system. apply_tokens() is the safe way: control tokens come from the
// template only, message contents are tokenized as plain text. apply() gives the bare string, for display and
// for callers who want libllama's behaviour.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/control_texts.h"
#include "model/vocab.h"

struct common_chat_templates;  // of llama-common

namespace fastcache::model {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", ...
  std::string content = {};
  std::vector<ChatPart> parts = {};  // in place of the content, if there are any
};

struct ChatOptions {
  bool add_generation_prompt = true;  // end with the beginning of the assistant's turn
};

class ChatTemplate {
 public:
  // The vocabulary must outlive it and stay where it is. Without a template in the file ChatML is used;
  // whoever opens the model for a user says so (log_default). Throws Error (invalid_model) for a template
  // that does not parse.
  explicit ChatTemplate(const Vocab& vocab);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  bool is_default() const;            // the file has none: this is ChatML
  const std::string& source() const;  // Jinja

  // Throws Error (bad_request) if the text is not UTF-8 or the template refuses the messages (an unknown
  // role, say).
  std::string apply(const std::vector<ChatMessage>& messages, ChatOptions options) const;
  // The prompt's tokens, BOS as the template says (never twice), contents as plain text; a kPictureToken for
  // each picture. Throws Error: as apply(); unsupported if the template drops or moves pictures.
  std::vector<Token> apply_tokens(const std::vector<ChatMessage>& messages, ChatOptions options) const;

  // For ChatTools.
  const ControlTexts& controls() const;
  const common_chat_templates* llama() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache::model
