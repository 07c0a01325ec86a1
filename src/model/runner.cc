// SPDX-License-Identifier: Apache-2.0
#include "model/runner.h"

#include <cmath>

#include "model/prune_step.h"

namespace fastcache::model {

kv::CacheShape cache_shape(const HParams& hparams, kv::KvType type) {
  return {.n_layers = hparams.n_layers, .n_kv_heads = hparams.n_kv_heads, .type = type};
}

Runner::Runner(const HParams& hparams, const Family& family, const kv::PagePool& pages, ComputePool& compute)
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
  family.build_graph(graph_, context_, 0, hparams.n_layers);
}

// Some of the tokens end behind a layer.
void Runner::run_in_two(int after_layer) {
  if (halves_ == nullptr || halves_->after_layer != after_layer) {
    halves_ = std::make_unique<Halves>();
    halves_->after_layer = after_layer;
    family_.build_graph(halves_->front, context_, 0, after_layer + 1);
    family_.build_graph(halves_->back, context_, after_layer + 1, hparams_.n_layers);
  }
  halves_->front.run(compute_);
  prune_step(context_, pages_.memory(), shape_, after_layer);
  halves_->back.run(compute_);
}

std::span<const float> Runner::run(std::span<const StepSequence> sequences) {
  context_.begin_step(sequences, forms_);
  context_.plan_attention(pages_.memory(), shape_);
  const int layer = prune_layer(context_);
  if (layer < 0)
    graph_.run(compute_);
  else
    run_in_two(layer);
  return {context_.logits.data(),
          static_cast<size_t>(context_.n_logit_rows()) * static_cast<size_t>(hparams_.n_vocab)};
}

}  // namespace fastcache::model
