// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include <exception>
#include <mutex>
#include <optional>
#include <vector>

#include "base/log.h"
#include "model/step_ops.h"

namespace fastcache::model {
namespace {

struct Layer {
  std::vector<float> attention_norm;  // [n_embd]
  std::vector<float> ffn_norm;        // [n_embd]
  linear::PackedMatrix qkv;           // [(n_heads + 2 n_kv_heads) * head_dim, n_embd]
  linear::PackedMatrix output;        // [n_embd, n_heads * head_dim]
  linear::PackedMatrix gate_up;       // [2 n_ff, n_embd]
  linear::PackedMatrix down;          // [n_embd, n_ff]
};

// What a layer is made from; kept until it is packed.
struct LayerSources {
  Tensor q, k, v, output, gate, up, down;
};

class Llama final : public Family {
 public:
  Llama(const GgufFile& file, const HParams& hparams, ComputePool& pool);

  const attention::RopeTable& rope() const override { return rope_; }
  linear::InputForms input_forms() const override { return forms_; }
  size_t weight_bytes() const override;
  std::vector<const linear::PackedMatrix*> output_weights() const override;
  void build_graph(StepGraph& graph, StepContext& context, int first_layer, int end_layer) const override;

 private:
  LayerSources take_layer(TensorReader& tensors, int index);
  void pack_all(const std::vector<LayerSources>& sources, linear::WeightArena& arena, ComputePool& pool);
  const linear::PackedMatrix& head() const { return head_ ? *head_ : embedding_; }

  HParams hparams_;
  attention::RopeTable rope_;
  std::vector<float> output_norm_;
  linear::PackedMatrix embedding_;            // [n_vocab, n_embd]; the output head too where that is tied
  std::optional<linear::PackedMatrix> head_;  // [n_vocab, n_embd]
  std::vector<Layer> layers_;
  linear::InputForms forms_;
};

std::vector<float> to_vector(const Tensor& tensor) {
  const std::span<const float> values = tensor.f32();
  return {values.begin(), values.end()};
}

LayerSources Llama::take_layer(TensorReader& tensors, int index) {
  const HParams& h = hparams_;
  const auto name = [index](const char* part) { return fmt::format("blk.{}.{}.weight", index, part); };
  const int64_t q_width = int64_t{h.n_heads} * h.head_dim;
  const int64_t kv_width = int64_t{h.n_kv_heads} * h.head_dim;
  Layer& layer = layers_[static_cast<size_t>(index)];
  layer.attention_norm = to_vector(tensors.take(name("attn_norm"), {h.n_embd}));
  layer.ffn_norm = to_vector(tensors.take(name("ffn_norm"), {h.n_embd}));
  return {.q = tensors.take(name("attn_q"), {h.n_embd, q_width}),
          .k = tensors.take(name("attn_k"), {h.n_embd, kv_width}),
          .v = tensors.take(name("attn_v"), {h.n_embd, kv_width}),
          .output = tensors.take(name("attn_output"), {q_width, h.n_embd}),
          .gate = tensors.take(name("ffn_gate"), {h.n_embd, h.n_ff}),
          .up = tensors.take(name("ffn_up"), {h.n_embd, h.n_ff}),
          .down = tensors.take(name("ffn_down"), {h.n_ff, h.n_embd})};
}

Llama::Llama(const GgufFile& file, const HParams& hparams, ComputePool& pool) : hparams_(hparams) {
  TensorReader tensors(file);
  rope_ = read_rope(hparams_, tensors);
  layers_.resize(static_cast<size_t>(hparams_.n_layers));
  std::vector<LayerSources> sources;
  for (int layer = 0; layer < hparams_.n_layers; ++layer) sources.push_back(take_layer(tensors, layer));
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

void Llama::pack_all(const std::vector<LayerSources>& sources, linear::WeightArena& arena,
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

size_t Llama::weight_bytes() const {
  size_t bytes = embedding_.bytes() + (head_ ? head_->bytes() : 0) + output_norm_.size() * sizeof(float);
  for (const Layer& layer : layers_) {
    bytes += layer.qkv.bytes() + layer.output.bytes() + layer.gate_up.bytes() + layer.down.bytes();
    bytes += (layer.attention_norm.size() + layer.ffn_norm.size()) * sizeof(float);
  }
  return bytes;
}

std::vector<const linear::PackedMatrix*> Llama::output_weights() const {
  std::vector<const linear::PackedMatrix*> of_layers;
  for (const Layer& layer : layers_) of_layers.push_back(&layer.output);
  return of_layers;
}

void Llama::build_graph(StepGraph& graph, StepContext& context, int first_layer, int end_layer) const {
  if (first_layer == 0) add_embedding(graph, context, embedding_, rope_);
  for (int i = first_layer; i < end_layer; ++i) {
    const Layer& layer = layers_[static_cast<size_t>(i)];
    add_norm(graph, context, Rows::all, layer.attention_norm);
    add_qkv(graph, context, layer.qkv, nullptr);
    add_rope_and_store(graph, context, i, rope_);
    add_attention(graph, context, i);
    const bool last = i + 1 == hparams_.n_layers;
    if (last) add_keep_logit_rows(graph, context);
    const Rows rows = last ? Rows::logits : Rows::all;
    add_attention_output(graph, context, rows, layer.output, nullptr);
    add_norm(graph, context, rows, layer.ffn_norm);
    add_gated_ffn(graph, context, rows, layer.gate_up, linear::Epilogue::silu_mul, layer.down);
  }
  if (end_layer < hparams_.n_layers) return;
  add_norm(graph, context, Rows::logits, output_norm_);
  add_logits(graph, context, head());
}

}  // namespace

std::unique_ptr<Family> load_llama(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  return std::make_unique<Llama>(file, hparams, pool);
}

}  // namespace fastcache::model
