// SPDX-License-Identifier: Apache-2.0
// What the operations of a step read and write: the rows of the batch, the activations between operations,
// and the attention work of every layer. One per runner, reused from step to step, so that steady decoding
// allocates nothing. Owner: the engine thread fills it before the step; compute threads write disjoint parts
// of the buffers during it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "attention/attention.h"
#include "attention/rope.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "linear/linear.h"
#include "model/hparams.h"
#include "model/query_record.h"
#include "model/token_pruner.h"

namespace fastcache::model {

// The part of a step that belongs to one sequence: its newest n_new tokens, for which append() has made the
// rows.
struct StepSequence {
  kv::Sequence* sequence = nullptr;
  int n_new = 0;
  std::span<const int32_t> logit_rows;  // of 0 .. n_new-1, ascending: which tokens' logits are wanted
  QueryRecord* record = nullptr;        // what a press wants of the queries, or null
  const TokenPruner* pruner = nullptr;  // drops some of the new tokens between two layers, or null
  // [n_new]: rows [n_embd] that enter the model in place of a token's embedding, for the tokens without a
  // vocabulary id (kv::Token); null for the others. Empty: there are none. They go in as they are, without
  // what a family does to its own embeddings.
  std::span<const float* const> embeddings = {};
  bool adapted = false;  // its rows are computed with the runner's adapter
};

// One token of the flattened batch.
struct StepRow {
  int sequence = 0;  // index into StepContext::sequences
  int index = 0;     // of the sequence's new tokens
  int32_t token = 0;
  std::array<int32_t, 4> positions{};  // as in kv::Token
  const float* embedding = nullptr;    // [n_embd] in place of the token's
  int going = 0;  // index among those of the sequence's new tokens that the layers at work compute
};

struct StepContext {
  StepContext(const HParams& hparams, int n_threads)
      : hparams(hparams), n_threads(n_threads), moment_tasks(static_cast<size_t>(hparams.n_layers)) {}

  const HParams& hparams;
  const int n_threads;

  // --- the batch
  std::span<const StepSequence> sequences;
  std::vector<StepRow> rows;
  std::vector<int> n_going;     // [n_sequences]: new tokens that the layers at work compute
  std::vector<int> logit_rows;  // indices into rows, ascending within a sequence
  int n_rows() const { return static_cast<int>(rows.size()); }
  int n_logit_rows() const { return static_cast<int>(logit_rows.size()); }

  // --- between operations
  std::vector<float> cos_sin;        // [n_rows, rope dims]
  std::vector<float> local_cos_sin;  // the same of layers with angles of their own, if there are any
  std::vector<float> hidden;         // [n_rows, n_embd]: the residual stream
  std::vector<float> branch;         // [n_rows, n_embd]: a block's output, where it is not added at once
  std::vector<float> qkv;            // [n_rows, (n_heads + 2 n_kv_heads) * head_dim]
  std::vector<float> attention_out;  // [n_rows, n_heads * head_dim]
  std::vector<float> last_hidden;    // [n_logit_rows, n_embd]: the rows that go on after the last attention
  std::vector<float> logits;         // [n_logit_rows, n_vocab]
  linear::Activations embd_input;    // [n_rows, n_embd]: into qkv and gate/up
  linear::Activations
      attention_input;            // [n_rows, n_heads * head_dim]: into the attention's output projection
  linear::Activations ffn_input;  // [n_rows, n_ff]: into down

  // --- attention, per layer
  struct LayerViews {
    std::vector<kv::HeadRows> heads;  // [n_sequences, n_kv_heads]
    std::vector<attention::AttentionSequence> sequences;
    attention::AttentionWork work;
  };
  std::vector<LayerViews> layers;
  std::vector<int32_t> positions;  // [n_rows]
  // [n_rows]: how many of its sequence's new rows each sees; for a sequence whose sees_spans is set.
  std::vector<int32_t> visible_new;
  std::vector<bool> sees_spans;  // [n_sequences]: some tokens see others behind them

  // --- what an adapter works on; filled where the step has adapted rows
  struct AdaptedRows {
    std::vector<int> rows;             // those that are adapted, ascending
    std::vector<const float*> hidden;  // [all rows]: A x of the adapter's matrix at work, null: not adapted
  };
  AdaptedRows adapted, adapted_logits;  // of rows, and of logit_rows as they go on behind the last attention
  int lora_width = 0;                   // of lora_hidden; the runner's adapter says how wide
  std::vector<float> lora_hidden;       // [adapted rows, lora_width]
  std::vector<std::vector<float>> lora_inputs;  // [n_threads]: some rows of a matrix's input
  bool has_adapted_rows() const { return !adapted.rows.empty(); }
  void plan_adapted();  // part of begin_step() and drop_rows()

  // --- queries before RoPE, where a record sums them up
  struct MomentChunk {
    QueryMoments* moments = nullptr;
    int first_row = 0, first_token = 0, n_tokens = 0;
  };
  std::vector<MomentChunk> moment_chunks;
  std::vector<TaskCounter> moment_tasks;  // [n_layers]
  std::vector<float> plain_queries;       // [n_rows, n_heads * head_dim], of one layer

  // Lays out the rows of a new step and makes the buffers large enough. Which input forms the matmuls need is
  // the model's to say. Throws Error (internal) for a token without id and without an embedding, and for one
  // that sees tokens behind the step's last: a stretch that is read both ways must end in the step that it
  // begins in, or in which a prefix ends that held its first rows.
  void begin_step(std::span<const StepSequence> step, linear::InputForms forms);
  void plan_moments();  // part of begin_step()
  // Rows that do not go on leave the batch. goes_on: [n_rows]. Throws Error (internal) for one whose logits
  // are wanted.
  void drop_rows(const std::vector<bool>& goes_on);
  // Of the layers from first_layer on. shape: the model's; see attention::layer_shape().
  void plan_attention(const kv::PageMemory& pages, const attention::AttentionShape& shape,
                      int first_layer = 0);
};

}  // namespace fastcache::model
