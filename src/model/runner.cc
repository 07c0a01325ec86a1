// SPDX-License-Identifier: Apache-2.0
#include "model/runner.h"

#include <cmath>

#include "base/error.h"
#include "model/prune_step.h"

namespace fastcache::model {

kv::CacheShape cache_shape(const HParams& hparams, kv::KvType type) {
  return {.n_layers = hparams.n_layers, .n_kv_heads = hparams.n_kv_heads, .type = type};
}

Runner::Runner(const HParams& hparams, const Family& family, const kv::PagePool& pages, ComputePool& compute,
               const LoraAdapter* lora)
    : hparams_(hparams),
      family_(family),
      pages_(pages),
      compute_(compute),
      forms_(family.input_forms()),
      local_{.is_local = hparams.local_layers, .window = hparams.sliding_window, .rope = family.local_rope()},
      shape_{.n_heads = hparams.n_heads,
             .n_kv_heads = hparams.n_kv_heads,
             .head_dim = hparams.head_dim,
             .scale = hparams.attention_scale,
             .rope = &family.rope(),
             .local = hparams.has_local_layers() ? &local_ : nullptr},
      context_(hparams, compute.n_threads()) {
  family.build_graph(plain_.whole, context_, {0, hparams.n_layers}, nullptr);
  if (lora == nullptr) return;
  context_.lora_width = lora->hidden_width();
  adapted_ = std::make_unique<Graphs>();
  adapted_->lora = lora;
  family.build_graph(adapted_->whole, context_, {0, hparams.n_layers}, lora);
}

// Some of the tokens end behind a layer.
void Runner::run_in_two(Graphs& graphs, int after_layer) {
  std::unique_ptr<Halves>& halves = graphs.halves;
  if (halves == nullptr || halves->after_layer != after_layer) {
    halves = std::make_unique<Halves>();
    halves->after_layer = after_layer;
    family_.build_graph(halves->front, context_, {0, after_layer + 1}, graphs.lora);
    family_.build_graph(halves->back, context_, {after_layer + 1, hparams_.n_layers}, graphs.lora);
  }
  halves->front.run(compute_);
  prune_step(context_, pages_.memory(), shape_, after_layer);
  halves->back.run(compute_);
}

void Runner::set_profiling(bool on) {
  plain_.whole.set_profiling(on);
  if (adapted_ != nullptr) adapted_->whole.set_profiling(on);
}

std::vector<StepGraph::ProfileRow> Runner::take_profile() {
  std::vector<StepGraph::ProfileRow> rows = plain_.whole.take_profile();
  if (adapted_ == nullptr) return rows;
  const std::vector<StepGraph::ProfileRow> more = adapted_->whole.take_profile();
  rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

std::span<const float> Runner::run(std::span<const StepSequence> sequences) {
  context_.begin_step(sequences, forms_);
  context_.plan_attention(pages_.memory(), shape_);
  if (context_.has_adapted_rows() && adapted_ == nullptr)
    throw Error{Code::internal, "a step has adapted rows, but there is no adapter"};
  Graphs& graphs = context_.has_adapted_rows() ? *adapted_ : plain_;
  const int layer = prune_layer(context_);
  if (layer < 0)
    graphs.whole.run(compute_);
  else
    run_in_two(graphs, layer);
  return {context_.logits.data(),
          static_cast<size_t>(context_.n_logit_rows()) * static_cast<size_t>(hparams_.n_vocab)};
}

}  // namespace fastcache::model
