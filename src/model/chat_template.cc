// SPDX-License-Identifier: Apache-2.0
#include "model/chat_template.h"

#include <chat.h>  // of llama-common
#include <llama.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "model/chat_apply.h"

namespace fastcache::model {
namespace {

void check_message(const ChatMessage& message, size_t number) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
  };
  if (message.role.empty() || message.role.size() > 32 ||
      !std::all_of(message.role.begin(), message.role.end(), allowed)) {
    throw Error{
        Code::bad_request,
        fmt::format("message {}: the role must be a short word such as system, user or assistant", number)};
  }
  const auto check_text = [&](const std::string& text) {
    if (const auto offset = find_invalid_utf8(text)) {
      throw Error{Code::bad_request,
                  fmt::format("message {}: the content is not valid UTF-8 at byte {}", number, *offset)};
    }
  };
  check_text(message.content);
  for (const ChatPart& part : message.parts) check_text(part.text);
}

// llama-common slices the exception that says where the template is wrong: parse again to see it.
[[noreturn]] void fail_to_parse(const Vocab& vocab) {
  std::string why = "llama-common gives no reason";
  try {
    const char* source = llama_model_chat_template(vocab.llama(), nullptr);
    common_chat_template(source == nullptr ? "" : source, "", "");
  } catch (const std::exception& error) {
    why = error.what();
  }
  throw Error{Code::invalid_model, fmt::format("the model's chat template cannot be parsed: {}", why)};
}

}  // namespace

struct ChatTemplate::Impl {
  explicit Impl(const Vocab& v) : vocab(v), controls(v) {}

  std::string render(const std::vector<ChatMessage>& messages, ChatOptions options) const {
    common_chat_templates_inputs inputs;
    for (const ChatMessage& message : messages) {
      common_chat_msg& added = inputs.messages.emplace_back();
      added.role = message.role;
      added.content = message.content;
    }
    inputs.add_generation_prompt = options.add_generation_prompt;
    inputs.force_pure_content = true;  // no tools here: spares a parser of the answer that nobody asks for
    return apply_chat_template(templates.get(), inputs).prompt;
  }

  const Vocab& vocab;
  ControlTexts controls;
  common_chat_templates_ptr templates;
  std::string source;
};

ChatTemplate::ChatTemplate(const Vocab& vocab) : impl_(std::make_unique<Impl>(vocab)) {
  try {
    impl_->templates = common_chat_templates_init(vocab.llama(), "");
    impl_->source = common_chat_templates_source(impl_->templates.get());
  } catch (const std::exception&) {
    fail_to_parse(vocab);
  }
  if (is_default()) log().info("the model has no chat template; ChatML is used");
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

bool ChatTemplate::is_default() const { return !common_chat_templates_was_explicit(impl_->templates.get()); }
const std::string& ChatTemplate::source() const { return impl_->source; }
const ControlTexts& ChatTemplate::controls() const { return impl_->controls; }
const common_chat_templates* ChatTemplate::llama() const { return impl_->templates.get(); }

std::string ChatTemplate::apply(const std::vector<ChatMessage>& messages, ChatOptions options) const {
  for (size_t i = 0; i < messages.size(); ++i) check_message(messages[i], i);
  return impl_->render(messages, options);
}

std::vector<Token> ChatTemplate::apply_tokens(const std::vector<ChatMessage>& messages,
                                              ChatOptions options) const {
  std::vector<ChatMessage> safe = messages;
  Disarmed disarmed;
  for (size_t i = 0; i < safe.size(); ++i) {
    check_message(safe[i], i);
    safe[i].content = safe[i].parts.empty() ? disarmed.disarm(impl_->controls, safe[i].content)
                                            : disarmed.join(impl_->controls, safe[i].parts);
  }
  return disarmed.tokenize(impl_->vocab, impl_->render(safe, options));
}

}  // namespace fastcache::model
