// SPDX-License-Identifier: Apache-2.0
// One conversation at a time: a prompt is prefilled in chunks, then decoded token by token, its K and V in
// the pool's pages. The next prompt reuses the rows of the prefix that it shares with what went before (a
// chat's history). Owner: one thread. The callback runs on it.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "base/compute_pool.h"
#include "engine/sampler.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/loaded_model.h"
#include "model/runner.h"

namespace fastcache::engine {

struct GeneratorOptions {
  size_t pool_bytes = size_t{1} << 30;
  kv::KvType kv_type = kv::KvType::bf16;
  int chunk_tokens = 512;  // of a prompt in one step
};

enum class FinishReason {
  stop,          // the model ended its answer
  length,        // max_tokens
  pool_full,     // no page for the next token
  context_full,  // prompt and answer fill the model's context
  cancelled,     // on_token or keep_going said no
};
const char* finish_reason_name(FinishReason reason);

struct GenerateStats {
  FinishReason finish_reason = FinishReason::stop;
  int prompt_tokens = 0;
  int reused_tokens = 0;  // of the prompt: rows that were still there
  int generated_tokens = 0;
  double prefill_s = 0;  // from the call to the first token
  double decode_s = 0;   // from the first token to the last
  int rows = 0;          // held in each (layer, KV head) at the end; fewer in layers with a sliding window
  size_t kv_bytes = 0;   // held by the conversation at the end
};

class Generator {
 public:
  // Throws Error: pool_too_small, bad_request.
  Generator(const model::LoadedModel& model, ComputePool& compute, const GeneratorOptions& options);

  // on_token gets each token that belongs to the answer and returns false to end it; its last token is then
  // forgotten by the cache, like one that was never asked for. keep_going is asked between the chunks of the
  // prompt. Throws Error: bad_request (an empty prompt, a token that is not in the vocabulary),
  // context_too_long, pool_too_small, invalid_model (numbers that are not finite). What was cached before, up
  // to the common prefix, is still there then.
  GenerateStats generate(
      std::span<const model::Token> prompt, int max_tokens, const SamplingParams& sampling,
      const std::function<bool(model::Token)>& on_token,
      const std::function<bool()>& keep_going = [] { return true; });

  void forget();  // frees the conversation's pages
  const kv::PagePool& pool() const { return pool_; }
  model::Runner& runner() { return runner_; }

 private:
  void check_prompt(std::span<const model::Token> prompt) const;
  int reuse_prefix(std::span<const model::Token> prompt);
  // The last token's logits; nothing when keep_going said no.
  std::optional<std::span<const float>> prefill(std::span<const model::Token> tokens,
                                                const std::function<bool()>& keep_going);
  FinishReason decode(model::Token token, int max_tokens, Sampler& sampler,
                      const std::function<bool(model::Token)>& on_token, int& n_generated);
  // Nothing when the pool has no page left; else the last token's logits, or an empty span where they are not
  // wanted.
  std::optional<std::span<const float>> step(std::span<const model::Token> tokens, bool want_logits);

  const model::LoadedModel& model_;
  GeneratorOptions options_;
  kv::PagePool pool_;
  model::Runner runner_;
  kv::Sequence sequence_;
};

// Tokens that fit into a pool of this size, at most the model's context.
int pool_capacity_tokens(const model::HParams& hparams, const kv::PagePool& pool, kv::KvType type);

}  // namespace fastcache::engine
