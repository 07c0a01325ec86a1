// SPDX-License-Identifier: Apache-2.0
// Text <-> tokens, by libllama on the vocabulary alone (no weights are read). Immutable after construction:
// any number of threads may call its const functions at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/gguf_file.h"
#include "model/utf8.h"

struct llama_model;
struct llama_vocab;

namespace fastcache::model {

using Token = int32_t;

struct TokenizeOptions {
  bool add_special = false;    // BOS / EOS, if the model is configured to have them
  bool parse_special = false;  // "<|im_end|>" becomes that control token; else it stays plain text
};

class Vocab {
 public:
  // Probes in a child process first: see vocab_probe.h. Throws Error (invalid_model, unsupported).
  explicit Vocab(const GgufFile& file);
  struct Unprobed {};
  Vocab(const GgufFile& file, Unprobed);  // for the probe itself: the process may die
  ~Vocab();
  Vocab(Vocab&&) noexcept;
  Vocab& operator=(Vocab&&) noexcept;

  int n_tokens() const;

  // Throws Error (bad_request) with the byte offset if text is not UTF-8, or if it is longer than 64 MiB.
  std::vector<Token> tokenize(std::string_view text, TokenizeOptions options) const;
  // Bytes; one token may be part of a character. Control tokens are empty unless `special`.
  // Throws Error (bad_request) for a number that is no token.
  std::string piece(Token token, bool special = false) const;
  // Valid UTF-8: broken characters become U+FFFD.
  std::string detokenize(std::span<const Token> tokens, bool special = false) const;

  bool is_valid(Token token) const { return token >= 0 && token < n_tokens(); }
  bool is_control(Token token) const;
  bool is_eog(Token token) const;  // ends an answer: EOS, end of turn, ...
  const std::vector<Token>& eog_tokens() const;

  std::optional<Token> bos() const;
  std::optional<Token> eos() const;
  std::optional<Token> eot() const;
  bool adds_bos() const;  // add_special puts BOS in front

  // For chat templates, grammars and samplers, which want libllama's own types.
  const llama_model* llama() const;
  const llama_vocab* llama_vocab_ptr() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The text of an answer, token by token: whole characters only. Owner: one thread. The vocabulary must
// outlive it.
class TextStream {
 public:
  explicit TextStream(const Vocab& vocab) : vocab_(&vocab) {}
  std::string push(Token token) { return utf8_.push(vocab_->piece(token)); }
  std::string flush() { return utf8_.flush(); }

 private:
  const Vocab* vocab_;
  Utf8Stream utf8_;
};

}  // namespace fastcache::model
