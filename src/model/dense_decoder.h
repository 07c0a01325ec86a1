// SPDX-License-Identifier: Apache-2.0
// What most decoders have in common: in each layer attention and a gated feed-forward network, with what some
// families add to them. A family with pre-norm layers is a DenseDecoder as it is; one with another graph
// derives from it. source: arXiv 2302.13971 (Llama)
#pragma once

#include <optional>
#include <vector>

#include "model/family.h"

namespace fastcache::model {

// What a family's layers have beside the weights that all have.
struct DenseParts {
  bool qkv_bias = false;      // attn_q.bias, attn_k.bias, attn_v.bias; a file may leave each of them out
  bool qk_norm = false;       // an RMS norm of each head of q and k, before RoPE
  bool post_norms = false;    // norms behind attention and feed-forward too, before they are added
  bool rope_factors = false;  // rope_freqs.weight
};

class DenseDecoder : public Family {
 public:
  // Throws Error (invalid_model, unsupported) that names the tensor.
  DenseDecoder(const GgufFile& file, const HParams& hparams, const DenseParts& parts, ComputePool& pool);

  const attention::RopeTable& rope() const override { return rope_; }
  const attention::RopeTable* local_rope() const override { return local_rope_ ? &*local_rope_ : nullptr; }
  linear::InputForms input_forms() const override { return forms_; }
  size_t weight_bytes() const override;
  std::vector<const linear::PackedMatrix*> output_weights() const override;
  // x += attention(norm(x)); x += feed-forward(norm(x)), with SiLU.
  void build_graph(StepGraph& graph, StepContext& context, LayerRange layers,
                   const LoraAdapter* lora) const override;

 protected:
  struct Layer {
    std::vector<float> attention_norm;       // [n_embd]
    std::vector<float> ffn_norm;             // [n_embd]
    std::vector<float> qkv_bias;             // [(n_heads + 2 n_kv_heads) * head_dim] or empty
    std::vector<float> q_norm, k_norm;       // [head_dim] or empty
    std::vector<float> attention_post_norm;  // [n_embd] or empty
    std::vector<float> ffn_post_norm;        // [n_embd] or empty
    linear::PackedMatrix qkv;                // [(n_heads + 2 n_kv_heads) * head_dim, n_embd]
    linear::PackedMatrix output;             // [n_embd, n_heads * head_dim]
    linear::PackedMatrix gate_up;            // [2 n_ff, n_embd]
    linear::PackedMatrix down;               // [n_embd, n_ff]
  };

  const HParams& hparams() const { return hparams_; }
  const Layer& layer(int index) const { return layers_[static_cast<size_t>(index)]; }
  const linear::PackedMatrix& embedding() const { return embedding_; }
  const std::vector<float>& output_norm() const { return output_norm_; }
  const linear::PackedMatrix& head() const { return head_ ? *head_ : embedding_; }

 private:
  struct LayerSources {  // what a layer is made from; kept until it is packed
    Tensor q, k, v, output, gate, up, down;
  };
  LayerSources take_layer(TensorReader& tensors, int index, const DenseParts& parts);
  void take_vectors(TensorReader& tensors, int index, const DenseParts& parts);
  void pack_all(const std::vector<LayerSources>& sources, linear::WeightArena& arena, ComputePool& pool);

  HParams hparams_;
  attention::RopeTable rope_;
  std::optional<attention::RopeTable> local_rope_;
  std::vector<float> output_norm_;
  linear::PackedMatrix embedding_;            // [n_vocab, n_embd]; the output head too where that is tied
  std::optional<linear::PackedMatrix> head_;  // [n_vocab, n_embd]
  std::vector<Layer> layers_;
  linear::InputForms forms_;
};

}  // namespace fastcache::model
