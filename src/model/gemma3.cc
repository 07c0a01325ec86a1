// SPDX-License-Identifier: Apache-2.0
#include "model/gemma3.h"

#include "model/dense_decoder.h"
#include "model/step_ops.h"

namespace fastcache::model {
namespace {

class Gemma3 final : public DenseDecoder {
 public:
  Gemma3(const GgufFile& file, const HParams& hparams, ComputePool& pool)
      : DenseDecoder(file, hparams, {.qk_norm = true, .post_norms = true}, pool) {}

  void build_graph(StepGraph& graph, StepContext& context, LayerRange layers,
                   const LoraAdapter* lora) const override;

 private:
  void add_layer(StepGraph& graph, StepContext& context, int index, const LoraLayer& adds) const;
};

// x += norm(attention(norm(x))); x += norm(feed-forward(norm(x)))
void Gemma3::add_layer(StepGraph& graph, StepContext& context, int index, const LoraLayer& adds) const {
  const Layer& layer = this->layer(index);
  const bool local = hparams().is_local(index);
  add_norm(graph, context, Rows::all, layer.attention_norm);
  add_qkv(graph, context, {layer.qkv, adds.qkv}, nullptr);
  add_rope_and_store(graph, context, index,
                     {.rope = local ? local_rope() : &rope(),
                      .angles = local ? Angles::local : Angles::global,
                      .q_norm = layer.q_norm,
                      .k_norm = layer.k_norm});
  add_attention(graph, context, index);
  const bool last = index + 1 == hparams().n_layers;
  if (last) add_keep_logit_rows(graph, context);
  const Rows rows = last ? Rows::logits : Rows::all;
  add_attention_output(graph, context, rows, {layer.output, adds.output}, Into::branch);
  add_branch(graph, context, rows, layer.attention_post_norm, layer.ffn_norm);
  add_gated_ffn(graph, context, rows, {layer.gate_up, adds.gate_up}, linear::Epilogue::gelu_mul,
                {layer.down, adds.down}, Into::branch);
  add_branch(graph, context, rows, layer.ffn_post_norm);
}

void Gemma3::build_graph(StepGraph& graph, StepContext& context, LayerRange layers,
                         const LoraAdapter* lora) const {
  if (layers.first == 0)
    add_embedding(graph, context, embedding(),
                  {.rope = &rope(), .local_rope = local_rope(), .scale = hparams().embedding_scale});
  for (int i = layers.first; i < layers.end; ++i) add_layer(graph, context, i, lora_layer(lora, i));
  if (layers.end < hparams().n_layers) return;
  add_norm(graph, context, Rows::logits, output_norm());
  add_logits(graph, context, head());
}

}  // namespace

std::unique_ptr<Family> load_gemma3(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  return std::make_unique<Gemma3>(file, hparams, pool);
}

}  // namespace fastcache::model
