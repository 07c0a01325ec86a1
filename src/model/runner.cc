// SPDX-License-Identifier: Apache-2.0
#include "model/runner.h"

#include <cmath>

namespace fastcache::model {

kv::CacheShape cache_shape(const HParams& hparams, kv::KvType type) {
  return {.n_layers = hparams.n_layers, .n_kv_heads = hparams.n_kv_heads, .type = type};
}

Runner::Runner(const HParams& hparams, const Family& family, const kv::PagePool& pages, ComputePool& compute)
    : hparams_(hparams),
      pages_(pages),
      compute_(compute),
      forms_(family.input_forms()),
      shape_{.n_heads = hparams.n_heads,
             .n_kv_heads = hparams.n_kv_heads,
             .head_dim = hparams.head_dim,
             .scale = hparams.attention_scale,
             .softcap = hparams.attention_softcap,
             .window = hparams.sliding_window,
             .rope = &family.rope()},
      context_(hparams, compute.n_threads()) {
  family.build_graph(graph_, context_);
}

std::span<const float> Runner::run(std::span<const StepSequence> sequences) {
  context_.begin_step(sequences, forms_);
  context_.plan_attention(pages_.memory(), shape_);
  graph_.run(compute_);
  return {context_.logits.data(),
          static_cast<size_t>(context_.n_logit_rows()) * static_cast<size_t>(hparams_.n_vocab)};
}

}  // namespace fastcache::model
