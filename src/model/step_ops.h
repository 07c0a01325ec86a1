// SPDX-License-Identifier: Apache-2.0
// The operations that model families are made of. Each add_* puts operations behind those already in the
// graph; they read and write the buffers of the step context that the comment names. Context, weights and
// tables must outlive the graph.
#pragma once

#include <span>

#include "linear/linear.h"
#include "linear/low_rank.h"
#include "model/step_context.h"
#include "model/step_graph.h"

namespace fastcache::model {

// Which rows an operation works on. After the last layer's attention only rows whose logits are wanted go on.
enum class Rows { all, logits };

struct EmbeddingOptions {
  const attention::RopeTable* rope = nullptr;
  const attention::RopeTable* local_rope =
      nullptr;         // of layers with angles of their own; null: there are none
  float scale = 1.0f;  // on each token's embedding, not on a picture's
};

// tokens and embeddings of pictures -> hidden; positions -> cos_sin, local_cos_sin.
void add_embedding(StepGraph& graph, StepContext& context, const linear::PackedMatrix& embedding,
                   const EmbeddingOptions& options);

// hidden, normalised -> embd_input.
void add_norm(StepGraph& graph, StepContext& context, Rows rows, std::span<const float> weight);

// Weights, and what an adapter adds to their products with the step's adapted rows; lora may be null.
struct AdaptedMatrix {
  const linear::PackedMatrix& weights;
  const linear::LowRank* lora = nullptr;
};

// embd_input -> qkv.
void add_qkv(StepGraph& graph, StepContext& context, const AdaptedMatrix& qkv, const float* bias);

enum class Angles { global, local };  // StepContext::cos_sin, local_cos_sin

struct RopeOptions {
  const attention::RopeTable* rope = nullptr;
  Angles angles = Angles::global;
  std::span<const float> q_norm{}, k_norm{};  // [head_dim]: of each head, before RoPE; empty: none
};

// Normalises and rotates q and k in qkv, then writes k and v into the pages of this layer.
void add_rope_and_store(StepGraph& graph, StepContext& context, int layer, const RopeOptions& options);

// qkv and the layer's pages -> attention_out.
void add_attention(StepGraph& graph, StepContext& context, int layer);

// Moves the wanted rows of hidden and attention_out to the front.
void add_keep_logit_rows(StepGraph& graph, StepContext& context);

// Where the output of a block goes.
enum class Into {
  hidden,  // hidden += it
  branch,  // branch = it; add_branch() follows
};

// attention_out W -> hidden or branch.
void add_attention_output(StepGraph& graph, StepContext& context, Rows rows, const AdaptedMatrix& output,
                          Into into = Into::hidden);

// embd_input -> gate, up -> ffn_input; ffn_input W_down -> hidden or branch.
void add_gated_ffn(StepGraph& graph, StepContext& context, Rows rows, const AdaptedMatrix& gate_up,
                   linear::Epilogue activation, const AdaptedMatrix& down, Into into = Into::hidden);

// hidden += branch, normalised with `norm`; where there is a next_norm, hidden, normalised with that ->
// embd_input.
void add_branch(StepGraph& graph, StepContext& context, Rows rows, std::span<const float> norm,
                std::span<const float> next_norm = {});

// embd_input -> logits.
void add_logits(StepGraph& graph, StepContext& context, const linear::PackedMatrix& head);

}  // namespace fastcache::model
