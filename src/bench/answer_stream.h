// SPDX-License-Identifier: Apache-2.0
// One streamed answer of an OpenAI-compatible server: from its bytes and the times they came to what is
// measured. Both forms: chunks with "text" and chunks with a "delta".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load_figures.h"
#include "bench/sse_events.h"

namespace fastcache::bench {

struct StreamedAnswer {
  // Of chunks that carry text, a tool call or tokens: the chunk with the role alone is no token. A chunk
  // counts as one token.
  std::vector<DeltaTime> deltas;
  std::optional<int64_t> prompt_tokens, output_tokens;  // usage, where the server sent it
  // What a fastcache server measured from submission to the first token; others do not say.
  std::optional<double> engine_ttft_ms;
  std::string error;  // empty: the answer came to its end; else what is wrong with it, in a sentence
};

// Owner: one thread. Nothing is thrown: what a server sends wrongly is the answer's error.
class AnswerStream {
 public:
  void push(std::string_view bytes, double now_ms);
  StreamedAnswer finish();  // the stream is over

 private:
  void read_event(std::string_view data, double now_ms);
  void fail(std::string sentence);

  SseEvents events_;
  StreamedAnswer answer_;
  bool any_event_ = false, done_ = false, finished_ = false;  // [DONE]; a finish_reason
};

// The message of {"error": {"message"}} and its relatives; else the beginning of the body, on one line.
std::string error_message(const std::string& body);

// The first id of a list of models, {"data": [{"id"}]}.
std::optional<std::string> first_model_in(const std::string& body);

}  // namespace fastcache::bench
