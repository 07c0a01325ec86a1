// SPDX-License-Identifier: Apache-2.0
// Runs steps of one model over one pool: tokens of many sequences in, logits out.
// Owner: the engine thread.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "model/family.h"
#include "model/step_context.h"
#include "model/step_graph.h"

namespace fastcache::model {

// The cache of this model's sequences.
kv::CacheShape cache_shape(const HParams& hparams, kv::KvType type);

class Runner {
 public:
  // All must outlive the runner; the pool's head_dim is the model's. lora: of StepSequence::adapted; null:
  // there is none, and no sequence is adapted.
  Runner(const HParams& hparams, const Family& family, const kv::PagePool& pages, ComputePool& compute,
         const LoraAdapter* lora = nullptr);
  Runner(const Runner&) = delete;  // shape_ points into it
  Runner& operator=(const Runner&) = delete;

  // One step. Each sequence has its new tokens appended; their ids are in the vocabulary. Returns the wanted
  // logits [sum of logit_rows, n_vocab], in the order of the sequences; valid until the next step. Throws
  // Error (internal); the caller then truncates the sequences.
  std::span<const float> run(std::span<const StepSequence> sequences);

  // How its queries look at keys. What it points to lives as long as the runner and the model.
  const attention::AttentionShape& attention() const { return shape_; }

  void set_profiling(bool on);
  std::vector<StepGraph::ProfileRow> take_profile();  // of plain steps, then of those with adapted rows

 private:
  struct Halves {  // of the graph, for steps that drop tokens between two layers
    int after_layer = 0;
    StepGraph front, back;
  };
  // A step without adapted rows runs what it would without an adapter, no operation more.
  struct Graphs {
    const LoraAdapter* lora = nullptr;
    StepGraph whole;
    std::unique_ptr<Halves> halves{};  // made with the first such step
  };
  void run_in_two(Graphs& graphs, int after_layer);

  const HParams& hparams_;
  const Family& family_;
  const kv::PagePool& pages_;
  ComputePool& compute_;
  linear::InputForms forms_;
  attention::LocalLayers local_;
  attention::AttentionShape shape_;
  StepContext context_;
  Graphs plain_;
  std::unique_ptr<Graphs> adapted_;  // null: there is no adapter
};

}  // namespace fastcache::model
