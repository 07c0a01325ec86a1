// SPDX-License-Identifier: Apache-2.0
#include "model/chat_template.h"

#include <chat.h>  // of llama-common
#include <llama.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "model/libllama.h"

namespace fastcache::model {
namespace {

// The texts that parse_special would turn into control tokens, found by their first byte.
class ControlTexts {
 public:
  explicit ControlTexts(const Vocab& vocab) {
    for (Token token = 0; token < vocab.n_tokens(); ++token) {
      const llama_token_attr attributes = llama_vocab_get_attr(vocab.llama_vocab_ptr(), token);
      if ((attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) == 0) continue;
      const std::string text = llama_vocab_get_text(vocab.llama_vocab_ptr(), token);
      if (!text.empty()) by_first_[static_cast<unsigned char>(text[0])].push_back(text);
    }
  }

  // The longest one that stands at this place, or empty.
  std::string_view at(std::string_view text) const {
    std::string_view longest;
    for (const std::string& control : by_first_[static_cast<unsigned char>(text[0])]) {
      if (control.size() > longest.size() && text.starts_with(control)) longest = control;
    }
    return longest;
  }

 private:
  std::array<std::vector<std::string>, 256> by_first_;
};

// Stands for a control text while the template is rendered: template code that trims, splits or searches
// contents sees ordinary letters. Private-use characters, and any that a user sends are treated as control
// texts too.
constexpr std::string_view kMarkBegin = "\xEE\x80\x80", kMarkEnd = "\xEE\x80\x81";  // U+E000, U+E001

class Disarmed {
 public:
  std::string disarm(const ControlTexts& controls, std::string_view content) {
    std::string out;
    for (size_t i = 0; i < content.size();) {
      std::string_view found = controls.at(content.substr(i));
      for (const std::string_view mark : {kMarkBegin, kMarkEnd}) {
        if (found.empty() && content.substr(i).starts_with(mark)) found = mark;
      }
      if (found.empty()) {
        out += content[i++];
        continue;
      }
      out += fmt::format("{}{}{}", kMarkBegin, texts_.size(), kMarkEnd);
      texts_.emplace_back(found);
      i += found.size();
    }
    return out;
  }

  // Calls part(text, is_plain) for the pieces of the prompt, in order.
  template <class Part>
  void split(std::string_view prompt, const Part& part) const {
    while (!prompt.empty()) {
      const size_t begin = prompt.find(kMarkBegin);
      const size_t end = begin == std::string_view::npos ? begin : prompt.find(kMarkEnd, begin);
      if (end == std::string_view::npos) return part(prompt, false);
      const std::string number(prompt.substr(begin + kMarkBegin.size(), end - begin - kMarkBegin.size()));
      if (begin > 0) part(prompt.substr(0, begin), false);
      const size_t index = std::strtoul(number.c_str(), nullptr, 10);
      if (index < texts_.size()) part(texts_[index], true);
      prompt.remove_prefix(end + kMarkEnd.size());
    }
  }

 private:
  std::vector<std::string> texts_;
};

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
  if (const auto offset = find_invalid_utf8(message.content)) {
    throw Error{Code::bad_request,
                fmt::format("message {}: the content is not valid UTF-8 at byte {}", number, *offset)};
  }
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
    try {
      return common_chat_templates_apply(templates.get(), inputs).prompt;
    } catch (const std::exception& error) {
      throw Error{Code::bad_request,
                  fmt::format("the model's chat template refuses these messages: {}", error.what())};
    }
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
    safe[i].content = disarmed.disarm(impl_->controls, safe[i].content);
  }
  std::vector<Token> tokens;
  // llama-common leaves the BOS out of the text where the vocabulary adds one.
  if (impl_->vocab.adds_bos() && impl_->vocab.bos()) tokens.push_back(*impl_->vocab.bos());
  disarmed.split(impl_->render(safe, options), [&](std::string_view text, bool is_plain) {
    const std::vector<Token> part =
        impl_->vocab.tokenize(text, {.add_special = false, .parse_special = !is_plain});
    tokens.insert(tokens.end(), part.begin(), part.end());
  });
  return tokens;
}

}  // namespace fastcache::model
