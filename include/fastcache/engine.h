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
#include <memory>
#include <optional>
#include <string>
#include <vector>

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
  bool prefix_cache = true;
};

// One request's answers as they come. Dropping the last handle cancels the request.
class Answer {
 public:
  virtual ~Answer() = default;
  // Blocks until there is something new. Nothing: the request has ended, all was handed out. Throws Error for
  // a request that failed (the model's weights are damaged, say), once, after what came before.
  virtual std::optional<Delta> next() = 0;
  // What the request cost; complete once next() gave nothing.
  virtual Summary summary() const = 0;
  // Ends the request soon; its answers finish as `cancelled`.
  virtual void cancel() = 0;
};

struct EngineStats {
  size_t pool_bytes = 0;
  size_t free_bytes = 0;
  size_t prefill_bytes = 0, decode_bytes = 0, compressed_bytes = 0;  // owned by one answer
  size_t shared_bytes = 0;         // by several, or by an answer and the prefix cache
  size_t prefix_cached_bytes = 0;  // by the prefix cache alone: freed when needed
  int waiting = 0;                 // requests
  int running = 0;                 // answers that hold KV
  int64_t steps = 0;
  int64_t preemptions = 0;
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;  // of ended requests
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
  std::shared_ptr<Answer> submit(Request request);

  EngineStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fastcache
