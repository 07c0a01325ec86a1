// SPDX-License-Identifier: Apache-2.0
// A model with a pool of its own, worked as the engine's steps work it: prompts read in chunks with what
// presses want of the queries, forks compressed to a number of resident bytes, tokens fed with the logits
// that are wanted. Owner: one thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/loaded_model.h"
#include "model/lora_adapter.h"
#include "model/picture_prompt.h"
#include "model/runner.h"
#include "press/press.h"
#include "press/registry.h"

namespace fastcache::eval {

using Tokens = std::vector<model::Token>;

struct WorkbenchOptions {
  kv::KvType kv_type = kv::KvType::bf16;
  int chunk_tokens = 512;                    // of a prompt in one step
  int capacity_tokens = 0;                   // of all sequences together, uncompressed
  const model::LoraAdapter* lora = nullptr;  // for every token; null: none. Must outlive the workbench
  int max_sequences = 1;  // that live at once: each may leave a page half used in every head
};

// A prompt that was read: its uncompressed rows, and what presses want of its queries.
struct Context {
  kv::Sequence sequence;
  model::QueryRecord record;
};

// A fork of a context, compressed.
struct Compressed {
  kv::Sequence sequence;
  double ratio = 0;  // that was asked of the press
  size_t bytes = 0;  // that the fork holds behind the last compression, by the pool's account
  std::unique_ptr<press::Press> press{};  // that did it
  press::Budget budget{};                 // with which
};

class Workbench {
 public:
  // Throws Error: pool_too_small, io.
  Workbench(const model::LoadedModel& model, ComputePool& threads, const WorkbenchOptions& options);

  const model::LoadedModel& model() const { return model_; }
  ComputePool& threads() const { return threads_; }
  const kv::PagePool& pool() const { return pool_; }
  const kv::CacheShape& shape() const { return shape_; }

  // Throws Error: pool_too_small, internal.
  Context read(std::span<const model::Token> tokens, const press::PressNeeds& needs);

  // The same with pictures in the prompt. embeddings: [tokens of the prompt], a row [n_embd] for each that
  // stands for a part of a picture, else null; whole_grids: as PictureReading::both_ways says.
  Context read(const model::PicturePrompt& prompt, std::span<const float* const> embeddings, bool whole_grids,
               const press::PressNeeds& needs);

  // With the ratio with which the fork holds as many bytes as it can of target_bytes, and at most 1 % more: a
  // method that leaves more pages half used has to remove more rows. Where it cannot come as low, the ratio
  // with which it holds least. `press` has neither ratio nor budget, and gets a budget of as many rows where
  // it takes no ratio; removed: the ratio to begin with.
  Compressed compress_to(const Context& context, const press::PressParams& press, double removed,
                         size_t target_bytes);
  Compressed compress(const Context& context, const press::PressParams& press, double ratio);

  // During a continuation (Press::decode_interval): what the press wants of the queries of its next n tokens,
  // and, when they were fed with that, the compression of all rows that are held then.
  model::QueryRecord record_next(const Compressed& cache, int n_tokens) const;
  void compress_again(Compressed& cache, const model::QueryRecord& record);

  // A fork that holds the first n_first and the last n_last rows of each head alone.
  kv::Sequence window(const Context& context, int n_first, int n_last);

  // Appends each sequence its tokens and runs them in one step. Logits of the last token of each, or of all:
  // [rows, n_vocab], valid until the next call. Throws Error (pool_too_small).
  enum class Logits { last, all };
  struct Feed {
    kv::Sequence* sequence = nullptr;
    std::span<const model::Token> tokens;  // at least one
    model::QueryRecord* record = nullptr;  // gathers what presses want of these tokens
    // In place of `tokens`, where pictures are among them; embeddings: as StepSequence has them.
    std::span<const kv::Token> placed{};
    std::span<const float* const> embeddings{};
  };
  std::span<const float> feed(std::span<const Feed> feeds, Logits logits);

 private:
  const model::LoadedModel& model_;
  ComputePool& threads_;
  WorkbenchOptions options_;
  kv::CacheShape shape_;
  kv::PagePool pool_;
  model::Runner runner_;
  std::vector<const linear::PackedMatrix*> output_weights_;  // [n_layers], for presses; empty: none
};

size_t resident_bytes(const kv::Sequence& sequence);

// Whether rows of it were removed or have fewer bits: what is generated on it then tells something of the
// method.
bool is_compressed(const kv::Sequence& sequence);

}  // namespace fastcache::eval
