// SPDX-License-Identifier: Apache-2.0
// What a request asks for and what comes back. Plain values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fastcache/picture.h"
#include "fastcache/sampling.h"

namespace fastcache {

// A stretch of text, or a picture.
struct MessagePart {
  std::string text = {};
  std::shared_ptr<const Picture> picture = {};  // null: text
};

struct Message {
  std::string role = {};  // "system", "user", "assistant", ...
  std::string content = {};
  std::vector<MessagePart> parts = {};  // in place of the content, if there are any
};

// How the prompt's K and V are compressed once it is prefilled; the first token has left by then. With
// "decoding(...)" what the answer adds is compressed too, while it grows. A prompt
// that goes on after an earlier one and its answer, with the same compression, starts from their compressed
// rows where the prefix cache still has them; otherwise it is compressed as a whole. So its answer may depend
// on what the cache holds: when it starts and, if it is preempted, once more when it comes back.
struct Compression {
  // A name that `fastcache presses` lists, or a text such as "streaming_llm(n_sink=8, ratio=0.5)" or
  // "adakv(keydiff(ratio=0.6))". What the text says and the fields below say must not contradict each other.
  std::string press = "none";
  std::optional<double> ratio = {};               // share of the rows that is removed, [0, 1)
  std::optional<int> budget = {};                 // instead of ratio: rows kept in each (layer, KV head)
  uint64_t seed = 0;                              // of random
  std::map<std::string, double> parameters = {};  // of the outermost press, such as n_sink
};

struct Request {
  // Exactly one of the three. Tokens come as they are; a prompt is tokenized with BOS as the model wants it.
  std::string prompt = {};
  std::vector<Message> messages = {};  // through the model's chat template
  std::vector<int32_t> tokens = {};
  // Of tokens: for each kPictureToken in them the picture, in order. Shared with the caller and not changed.
  std::vector<std::shared_ptr<const Picture>> pictures = {};

  int max_tokens = 256;  // of each answer
  int n = 1;             // answers; the prompt's KV is shared, answer i samples with seed + i
  SamplingParams sampling = {};
  std::vector<std::string> stop = {};  // an answer ends before the first of these
  Compression compression = {};
  int priority = 0;  // higher goes first; waiting raises it
  double deadline_ms =
      std::numeric_limits<double>::infinity();  // from submission; then it ends as `deadline`
  std::string tenant = {};                      // requests of different tenants never share cached prefixes
};

enum class Finish {
  stop,    // the model ended its answer, or a stop string came
  length,  // max_tokens, or the model's context is full
  cancelled,
  deadline,
  failed,
};
const char* finish_name(Finish finish);

struct TokenInfo {
  int32_t id = 0;
  float logprob = 0;  // natural logarithm; of the model's own distribution. Only if asked for
  std::vector<std::pair<int32_t, float>> top = {};  // likeliest first
};

// Something new of one answer.
struct Delta {
  int answer = 0;                      // of 0 .. n - 1
  std::string text = {};               // whole UTF-8 characters; what may become a stop string is held back
  std::vector<TokenInfo> tokens = {};  // generated since the last delta, whether or not their text is out
  bool finished = false;               // the last delta of this answer
  Finish finish = Finish::stop;        // when finished
};

struct Summary {
  int prompt_tokens = 0;     // logical: compression does not change them
  int cached_tokens = 0;     // of them from the prefix cache
  int image_tokens = 0;      // of them, those that stand for pictures
  int generated_tokens = 0;  // of all answers
  int preemptions = 0;
  // Until the first token; n/a (0) while it has not come.
  double encode_ms = 0;    // until all of its pictures were encoded; 0: there were none to encode
  double queue_ms = 0;     // until the prompt's first step, encode_ms included
  double prefill_ms = 0;   // from there to the first token
  double compress_ms = 0;  // in presses
  double decode_ms = 0;    // from the first token to the last
  double ttft_ms = 0;      // submission to first token
  double tpot_ms = 0;      // mean time between tokens, the first excluded
  // KV of the prompt, all layers and heads.
  size_t rows_before_compression = 0, rows_after_compression = 0;
  int compressions = 0;    // of the prompt, and of all answers during decoding
  size_t freed_bytes = 0;  // by compression, as the pool counts; what the prefix cache keeps included
};

}  // namespace fastcache
