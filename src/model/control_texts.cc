// SPDX-License-Identifier: Apache-2.0
#include "model/control_texts.h"

#include <llama.h>
#include <spdlog/fmt/fmt.h>

#include <cstdlib>

#include "base/error.h"
#include "model/picture_prompt.h"

namespace fastcache::model {
namespace {

// Stands for a control text while the template is rendered: template code that trims, splits or searches
// contents sees ordinary letters. Private-use characters, and any that a user sends are treated as control
// texts too.
constexpr char kPicture = 'p';  // in front of the number of a picture's mark
constexpr std::string_view kMarkBegin = "\xEE\x80\x80", kMarkEnd = "\xEE\x80\x81";  // U+E000, U+E001

std::string_view mark_at(std::string_view text) {
  for (const std::string_view mark : {kMarkBegin, kMarkEnd}) {
    if (text.starts_with(mark)) return mark;
  }
  return {};
}

}  // namespace

ControlTexts::ControlTexts(const Vocab& vocab) {
  for (Token token = 0; token < vocab.n_tokens(); ++token) {
    const llama_token_attr attributes = llama_vocab_get_attr(vocab.llama_vocab_ptr(), token);
    if ((attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN)) == 0) continue;
    const std::string text = llama_vocab_get_text(vocab.llama_vocab_ptr(), token);
    if (!text.empty()) by_first_[static_cast<unsigned char>(text[0])].push_back(text);
  }
}

std::string_view ControlTexts::at(std::string_view text) const {
  std::string_view longest;
  for (const std::string& control : by_first_[static_cast<unsigned char>(text[0])]) {
    if (control.size() > longest.size() && text.starts_with(control)) longest = control;
  }
  return longest;
}

std::string Disarmed::disarm(const ControlTexts& controls, std::string_view content) {
  std::string out;
  for (size_t i = 0; i < content.size();) {
    std::string_view found = controls.at(content.substr(i));
    if (found.empty()) found = mark_at(content.substr(i));
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

std::string Disarmed::join(const ControlTexts& controls, std::span<const ChatPart> parts) {
  std::string joined;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].is_picture) {
      joined += fmt::format("{}{}{}{}", kMarkBegin, kPicture, n_pictures_++, kMarkEnd);
      continue;
    }
    if (i > 0 && !parts[i - 1].is_picture) joined += '\n';
    joined += disarm(controls, parts[i].text);
  }
  return joined;
}

std::vector<Token> Disarmed::tokenize(const Vocab& vocab, std::string_view prompt) const {
  std::vector<Token> tokens;
  if (vocab.adds_bos() && vocab.bos()) tokens.push_back(*vocab.bos());
  const auto add = [&](std::string_view text, bool is_plain) {
    const std::vector<Token> part = vocab.tokenize(text, {.add_special = false, .parse_special = !is_plain});
    tokens.insert(tokens.end(), part.begin(), part.end());
  };
  size_t n_pictures = 0;
  while (!prompt.empty()) {
    const size_t begin = prompt.find(kMarkBegin);
    const size_t end = begin == std::string_view::npos ? begin : prompt.find(kMarkEnd, begin);
    if (end == std::string_view::npos) {
      add(prompt, false);
      break;
    }
    std::string number(prompt.substr(begin + kMarkBegin.size(), end - begin - kMarkBegin.size()));
    if (begin > 0) add(prompt.substr(0, begin), false);
    const bool is_picture = number.starts_with(kPicture);
    if (is_picture) number.erase(0, 1);
    const size_t index = std::strtoul(number.c_str(), nullptr, 10);
    if (is_picture) {
      if (index != n_pictures) break;
      tokens.push_back(kPictureToken);
      ++n_pictures;
    } else if (index < texts_.size()) {
      add(texts_[index], true);
    }
    prompt.remove_prefix(end + kMarkEnd.size());
  }
  if (n_pictures != n_pictures_) {
    throw Error{
        Code::unsupported,
        "the model's chat template does not write the pictures of these messages, each once and in order"};
  }
  return tokens;
}

}  // namespace fastcache::model
