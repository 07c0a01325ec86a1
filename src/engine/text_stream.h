// SPDX-License-Identifier: Apache-2.0
// The text of an answer, token by token: valid UTF-8, never half a character, and nothing of a stop string or
// behind it. Owner: one thread. Copying is a fork. It stays with its request over a preemption: replayed
// tokens are not pushed again.
#pragma once

#include <memory>
#include <string>

#include "engine/stop_strings.h"
#include "model/vocab.h"

namespace fastcache::engine {

class TextStream {
 public:
  // Stop strings are looked for in the text after the first min_tokens tokens only; what was complete or
  // begun before does not count. The vocabulary must outlive the stream.
  TextStream(const model::Vocab& vocab, std::shared_ptr<const StopStrings> stops, int min_tokens = 0)
      : vocab_(&vocab), filter_(std::move(stops)), min_tokens_(min_tokens) {}

  // The text that can be shown by now; control tokens have none. Throws Error (bad_request) for a number that
  // is no token.
  std::string push(model::Token token);
  // The end of the answer: what was held back (half a character becomes U+FFFD). Nothing once stopped.
  std::string flush();

  bool stopped() const { return filter_.stopped(); }
  const std::string* stop_string() const { return filter_.stop_string(); }

 private:
  const model::Vocab* vocab_;
  model::Utf8Stream utf8_;
  StopFilter filter_;
  int min_tokens_;
  int n_tokens_ = 0;
};

}  // namespace fastcache::engine
