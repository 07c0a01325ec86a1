// SPDX-License-Identifier: Apache-2.0
// The engine in process: many requests at once over one model and one pool of KV memory.
//
//   fastcache::Engine engine({.model = "model.gguf"});
//   auto answer = engine.submit({.prompt = "Once upon a time", .max_tokens = 100});
//   while (auto delta = answer->next()) std::cout << delta->text;
//
// Threads: every function here may be called from any thread. The engine runs a thread of its own, and
// compute threads below it. Errors: fastcache::Error (error.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fastcache/chat.h"
#include "fastcache/error.h"
#include "fastcache/request.h"

namespace fastcache {

struct EngineOptions {
  std::string model =
      {};  // path of a GGUF file, or a name that `fastcache models` lists; empty: the embedded model
  size_t pool_bytes = size_t{1} << 30;  // all K and V of all requests
  std::string kv_type = "bf16";         // f32, bf16 or int8
  int threads = 0;                      // compute threads; 0 = one per core
  int step_tokens = 512;                // of prompts and answers in one step of the model
  int max_running = 256;                // answers that decode together
  int max_waiting = 4096;               // requests in the queue; more are refused (overloaded)
  std::string policy = "dynamic";       // of the scheduler: dynamic or fcfs
  double itl_target_ms = 50;            // dynamic: a running answer's next token waits no longer for prompts
  bool prefix_cache = true;
  std::string mmproj = {};  // path of a vision encoder for the model; empty: it sees no pictures
  // Path of a LoRA adapter (GGUF) for requests that hold pictures; all others are computed as if there were
  // none, bit by bit. Needs mmproj. Empty: there is none.
  std::string lora = {};
  size_t image_cache_bytes = size_t{256} << 20;  // embeddings of pictures that were seen before
};

// One request's answers as they come. Dropping the last handle cancels the request.
class Answer {
 public:
  virtual ~Answer() = default;
  // Blocks until there is something new. Nothing: the request has ended, all was handed out. Throws Error for
  // a request that failed (the model's weights are damaged, say), once, after what came before.
  virtual std::optional<Delta> next() = 0;
  enum class Poll { delta, nothing, ended };
  // The same without blocking: `delta` is filled, or nothing is new, or the request has ended. Throws like
  // next().
  virtual Poll poll(Delta& delta) = 0;
  // What the request cost; complete once next() gave nothing.
  virtual Summary summary() const = 0;
  // Ends the request soon; its answers finish as `cancelled`.
  virtual void cancel() = 0;
};

struct EngineStats {
  size_t pool_bytes = 0;
  size_t free_bytes = 0;
  size_t prefill_bytes = 0, decode_bytes = 0, compressed_bytes = 0;  // owned by one answer
  size_t shared_bytes = 0;                            // by several, or by an answer and the prefix cache
  size_t prefix_cached_bytes = 0;                     // by the prefix cache alone: freed when needed
  size_t query_bytes = 0;                             // beside the pool: queries kept for presses
  int waiting = 0;                                    // requests
  int running = 0;                                    // answers that hold KV
  int prefilling = 0, compressing = 0, decoding = 0;  // of those running
  int64_t steps = 0;
  int64_t preemptions = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;  // of ended requests
  int encoding = 0;                                 // requests whose pictures are being encoded
  int64_t mm_cache_queries = 0, mm_cache_hits = 0;  // pictures asked for; those that were not encoded anew
  size_t mm_cache_bytes = 0;                        // embeddings kept, beside the pool
  int64_t pictures_encoded = 0;
};

// One request as the engine sees it after a step; its answers together.
struct RequestFigures {
  uint64_t id = 0;         // ascending in order of arrival
  const char* stage = "";  // encode, waiting, prefill, compress, decode
  std::string press = {};  // none, knorm, ...
  int prompt_tokens = 0;   // logical
  int cached_tokens = 0;   // of them from the prefix cache
  int generated_tokens = 0;
  size_t rows_held = 0;          // of K and V, over all layers and KV heads
  size_t rows_uncompressed = 0;  // the same had nothing been compressed
  size_t bytes = 0;              // of the pages that its tables name, shared ones included
  double age_ms = 0;             // since submission
  double ttft_ms = 0;            // 0: no token yet
};

struct ModelFacts {
  std::string path = {};
  std::string name = {};  // the file's name without its ending
  int context_tokens = 0;
  bool has_vision = false;
  int n_vocab = 0;
  int n_layers = 0;
  size_t kv_bytes_per_token = 0;
};

class Engine {
 public:
  // Loads the model. Throws Error: not_found, invalid_model, unsupported, bad_request, pool_too_small, io.
  explicit Engine(const EngineOptions& options);
  ~Engine();  // cancels what runs
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Throws Error: bad_request, context_too_long, pool_too_small (even an empty pool could not hold it),
  // overloaded, unsupported.
  // on_news: called on the engine's thread whenever poll() has something new. It must return at once, must
  // not throw, must not call the engine, and may come before submit() has returned.
  std::shared_ptr<Answer> submit(Request request, std::function<void()> on_news = {});

  EngineStats stats() const;
  // In order of arrival, as of the last step; the first `most` of them.
  std::vector<RequestFigures> requests(size_t most) const;

  const ModelFacts& model() const;
  // Throws Error: bad_request (JSON, roles, UTF-8, a template that refuses), unsupported.
  PreparedChat prepare_chat(const ChatCall& call) const;
  // Throws Error (bad_request): not UTF-8; a token outside the vocabulary.
  std::vector<int32_t> tokenize(std::string_view text, bool add_special, bool parse_special) const;
  std::string detokenize(std::span<const int32_t> tokens) const;
  std::string token_bytes(int32_t token) const;  // may be a part of a character; empty for control tokens

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache
