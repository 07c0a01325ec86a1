// SPDX-License-Identifier: Apache-2.0
#include "engine/text_stream.h"

namespace fastcache::engine {

std::string TextStream::push(model::Token token) {
  const std::string bytes = vocab_->piece(token);
  if (stopped()) return {};
  std::string text = utf8_.push(bytes);
  if (n_tokens_++ < min_tokens_) return text;
  return filter_.push(text);
}

std::string TextStream::flush() {
  std::string text = utf8_.flush();
  if (n_tokens_ > min_tokens_) text = filter_.push(text);
  return text + filter_.flush();
}

}  // namespace fastcache::engine
