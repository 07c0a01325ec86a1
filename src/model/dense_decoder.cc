// SPDX-License-Identifier: Apache-2.0
#include "model/dense_decoder.h"

#include <algorithm>
#include <exception>
#include <mutex>

#include "base/log.h"
#include "model/step_ops.h"

namespace fastcache::model {
namespace {

std::vector<float> to_vector(const Tensor& tensor) {
  const std::span<const float> values = tensor.f32();
  return {values.begin(), values.end()};
}

std::string part_name(int layer, const char* part) { return fmt::format("blk.{}.{}", layer, part); }

// The biases of q, k and v side by side, as the packed matrix has their channels; zeros for one that the file
// leaves out. Empty: there is none.
std::vector<float> take_qkv_bias(TensorReader& tensors, int layer, int64_t q_width, int64_t kv_width) {
  std::vector<float> all;
  bool any = false;
  const auto take = [&](const char* part, int64_t width) {
    const std::optional<Tensor> bias = tensors.take_optional(part_name(layer, part), {width});
    any |= bias.has_value();
    const std::vector<float> values =
        bias ? to_vector(*bias) : std::vector<float>(static_cast<size_t>(width));
    all.insert(all.end(), values.begin(), values.end());
  };
  take("attn_q.bias", q_width);
  take("attn_k.bias", kv_width);
  take("attn_v.bias", kv_width);
  return any ? all : std::vector<float>{};
}

}  // namespace

void DenseDecoder::take_vectors(TensorReader& tensors, int index, const DenseParts& parts) {
  const HParams& h = hparams_;
  Layer& layer = layers_[static_cast<size_t>(index)];
  const auto take = [&](const char* part, int64_t n) {
    return to_vector(tensors.take(part_name(index, part), {n}));
  };
  layer.attention_norm = take("attn_norm.weight", h.n_embd);
  layer.ffn_norm = take("ffn_norm.weight", h.n_embd);
  if (parts.qkv_bias)
    layer.qkv_bias =
        take_qkv_bias(tensors, index, int64_t{h.n_heads} * h.head_dim, int64_t{h.n_kv_heads} * h.head_dim);
  if (parts.qk_norm) {
    layer.q_norm = take("attn_q_norm.weight", h.head_dim);
    layer.k_norm = take("attn_k_norm.weight", h.head_dim);
  }
  if (parts.post_norms) {
    layer.attention_post_norm = take("post_attention_norm.weight", h.n_embd);
    layer.ffn_post_norm = take("post_ffw_norm.weight", h.n_embd);
  }
}

DenseDecoder::LayerSources DenseDecoder::take_layer(TensorReader& tensors, int index,
                                                    const DenseParts& parts) {
  const HParams& h = hparams_;
  take_vectors(tensors, index, parts);
  const int64_t q_width = int64_t{h.n_heads} * h.head_dim;
  const int64_t kv_width = int64_t{h.n_kv_heads} * h.head_dim;
  const auto take = [&](const char* part, int64_t n_in, int64_t n_out) {
    return tensors.take(part_name(index, part), {n_in, n_out});
  };
  return {.q = take("attn_q.weight", h.n_embd, q_width),
          .k = take("attn_k.weight", h.n_embd, kv_width),
          .v = take("attn_v.weight", h.n_embd, kv_width),
          .output = take("attn_output.weight", q_width, h.n_embd),
          .gate = take("ffn_gate.weight", h.n_embd, h.n_ff),
          .up = take("ffn_up.weight", h.n_embd, h.n_ff),
          .down = take("ffn_down.weight", h.n_ff, h.n_embd)};
}

DenseDecoder::DenseDecoder(const GgufFile& file, const HParams& hparams, const DenseParts& parts,
                           ComputePool& pool)
    : hparams_(hparams) {
  TensorReader tensors(file);
  rope_ = parts.rope_factors ? read_rope(hparams_, tensors) : make_rope(hparams_, {});
  if (hparams_.has_local_layers()) local_rope_ = make_local_rope(hparams_);
  layers_.resize(static_cast<size_t>(hparams_.n_layers));
  std::vector<LayerSources> sources;
  for (int layer = 0; layer < hparams_.n_layers; ++layer)
    sources.push_back(take_layer(tensors, layer, parts));
  output_norm_ = to_vector(tensors.take("output_norm.weight", {hparams_.n_embd}));
  const linear::WeightSource embedding =
      tensors.take("token_embd.weight", {hparams_.n_embd, hparams_.n_vocab}).weight();
  const auto head = tensors.take_optional("output.weight", {hparams_.n_embd, hparams_.n_vocab});
  tensors.expect_all_taken();

  linear::WeightArena arena;
  pack_all(sources, arena, pool);
  embedding_ = linear::pack(std::span(&embedding, 1), &arena);
  if (head) {
    const linear::WeightSource source = head->weight();
    head_ = linear::pack(std::span(&source, 1), &arena);
  }
  for (const Layer& layer : layers_) {
    for (const auto* matrix : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down}) {
      forms_ |= matrix->input_forms();
    }
  }
  forms_ |= this->head().input_forms();
}

void DenseDecoder::pack_all(const std::vector<LayerSources>& sources, linear::WeightArena& arena,
                            ComputePool& pool) {
  std::mutex mutex;
  std::exception_ptr failure;  // the pool's tasks are called from C and must not throw
  pool.parallel_for(static_cast<int>(sources.size()), [&](int i) {
    try {
      const LayerSources& from = sources[static_cast<size_t>(i)];
      Layer& layer = layers_[static_cast<size_t>(i)];
      const std::vector qkv{from.q.weight(), from.k.weight(), from.v.weight()};
      const linear::WeightSource output = from.output.weight();
      const linear::WeightSource down = from.down.weight();
      layer.qkv = linear::pack(qkv, &arena);
      layer.output = linear::pack(std::span(&output, 1), &arena);
      layer.gate_up = linear::pack_gate_up(from.gate.weight(), from.up.weight(), &arena);
      layer.down = linear::pack(std::span(&down, 1), &arena);
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

size_t DenseDecoder::weight_bytes() const {
  size_t bytes = embedding_.bytes() + (head_ ? head_->bytes() : 0) + output_norm_.size() * sizeof(float);
  for (const Layer& layer : layers_) {
    bytes += layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes();
    for (const auto* values : {&layer.attention_norm, &layer.ffn_norm, &layer.qkv_bias, &layer.q_norm,
                               &layer.k_norm, &layer.attention_post_norm, &layer.ffn_post_norm})
      bytes += values->size() * sizeof(float);
  }
  return bytes;
}

std::vector<const linear::PackedMatrix*> DenseDecoder::output_weights() const {
  std::vector<const linear::PackedMatrix*> of_layers;
  for (const Layer& layer : layers_) of_layers.push_back(&layer.output);
  return of_layers;
}

void DenseDecoder::build_graph(StepGraph& graph, StepContext& context, LayerRange layers,
                               const LoraAdapter* lora) const {
  if (layers.first == 0) add_embedding(graph, context, embedding(), {.rope = &rope_});
  for (int i = layers.first; i < layers.end; ++i) {
    const Layer& layer = this->layer(i);
    const LoraLayer adds = lora_layer(lora, i);
    add_norm(graph, context, Rows::all, layer.attention_norm);
    add_qkv(graph, context, {layer.qkv, adds.qkv}, layer.qkv_bias.empty() ? nullptr : layer.qkv_bias.data());
    add_rope_and_store(graph, context, i, {.rope = &rope_, .q_norm = layer.q_norm, .k_norm = layer.k_norm});
    add_attention(graph, context, i);
    const bool last = i + 1 == hparams_.n_layers;
    if (last) add_keep_logit_rows(graph, context);
    const Rows rows = last ? Rows::logits : Rows::all;
    add_attention_output(graph, context, rows, {layer.output, adds.output});
    add_norm(graph, context, rows, layer.ffn_norm);
    add_gated_ffn(graph, context, rows, {layer.gate_up, adds.gate_up}, linear::Epilogue::silu_mul,
                  {layer.down, adds.down});
  }
  if (layers.end < hparams_.n_layers) return;
  add_norm(graph, context, Rows::logits, output_norm_);
  add_logits(graph, context, head());
}

}  // namespace fastcache::model
