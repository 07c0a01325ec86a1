// SPDX-License-Identifier: Apache-2.0
// Keeps the texts of control tokens in what users write plain text, while a template is rendered around it:
// the template's own control tokens are tokens, theirs are letters. Used by ChatTemplate and ChatTools.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/vocab.h"

namespace fastcache::model {

// The texts that parse_special would turn into control tokens, found by their first byte. Immutable.
class ControlTexts {
 public:
  explicit ControlTexts(const Vocab& vocab);
  // The longest one that the text begins with, or empty. text is not empty.
  std::string_view at(std::string_view text) const;

 private:
  std::array<std::vector<std::string>, 256> by_first_;
};

// A stretch of a message's text, or the place of a picture.
struct ChatPart {
  std::string text = {};
  bool is_picture = false;
};

// Of one prompt: what was taken out of its contents. Owner: one thread.
class Disarmed {
 public:
  // The content with a short mark in place of each control text.
  std::string disarm(const ControlTexts& controls, std::string_view content);
  size_t n_found() const { return texts_.size(); }
  // Texts, disarmed, with a line feed between two of them; for each picture a mark that no disarmed text has.
  std::string join(const ControlTexts& controls, std::span<const ChatPart> parts);
  // A rendered prompt, the marks' texts as plain text and all else with the template's control tokens. BOS in
  // front where the vocabulary adds one: llama-common leaves it out of the text there. Pictures' marks become
  // kPictureToken; throws Error (unsupported) unless the template left each of them in, once and in order.
  std::vector<Token> tokenize(const Vocab& vocab, std::string_view prompt) const;

 private:
  std::vector<std::string> texts_;
  size_t n_pictures_ = 0;
};

}  // namespace fastcache::model
