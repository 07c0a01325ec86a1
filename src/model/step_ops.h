// SPDX-License-Identifier: Apache-2.0
// The operations that model families are made of. Each add_* puts operations behind those already in the
// graph; they read and write the buffers of the step context that the comment names. Context, weights and
// tables must outlive the graph.
#pragma once

#include <span>

#include "linear/linear.h"
#include "model/step_context.h"
#include "model/step_graph.h"

namespace fastcache::model {

// Which rows an operation works on. After the last layer's attention only rows whose logits are wanted go on.
enum class Rows { all, logits };

// tokens and embeddings of pictures -> hidden; positions -> cos_sin.
void add_embedding(StepGraph& graph, StepContext& context, const linear::PackedMatrix& embedding,
                   const attention::RopeTable& rope);

// hidden, normalised -> embd_input.
void add_norm(StepGraph& graph, StepContext& context, Rows rows, std::span<const float> weight);

// embd_input -> qkv.
void add_qkv(StepGraph& graph, StepContext& context, const linear::PackedMatrix& qkv, const float* bias);

// Rotates q and k in qkv, then writes k and v into the pages of this layer.
void add_rope_and_store(StepGraph& graph, StepContext& context, int layer, const attention::RopeTable& rope);

// qkv and the layer's pages -> attention_out.
void add_attention(StepGraph& graph, StepContext& context, int layer);

// Moves the wanted rows of hidden and attention_out to the front.
void add_keep_logit_rows(StepGraph& graph, StepContext& context);

// hidden += attention_out W (+ bias).
void add_attention_output(StepGraph& graph, StepContext& context, Rows rows,
                          const linear::PackedMatrix& output, const float* bias);

// embd_input -> gate, up -> ffn_input; hidden += ffn_input W_down.
void add_gated_ffn(StepGraph& graph, StepContext& context, Rows rows, const linear::PackedMatrix& gate_up,
                   linear::Epilogue activation, const linear::PackedMatrix& down);

// embd_input -> logits.
void add_logits(StepGraph& graph, StepContext& context, const linear::PackedMatrix& head);

}  // namespace fastcache::model
