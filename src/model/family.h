// SPDX-License-Identifier: Apache-2.0
// The seam between the engine and model families: a family reads its weights from a file and lays out its
// graph. A new family is one new file and one line in family.cc (and one in hparams.cc's table of
// architectures).
#pragma once

#include <memory>
#include <vector>

#include "base/compute_pool.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/lora_adapter.h"
#include "model/step_context.h"
#include "model/step_graph.h"

namespace fastcache::model {

struct LayerRange {
  int first = 0, end = 0;
};

// Weights of one model, packed. Immutable after load, so any number of graphs may read it.
class Family {
 public:
  virtual ~Family() = default;

  virtual const attention::RopeTable& rope() const = 0;
  // Of the local layers (HParams::local_layers); null where there are none.
  virtual const attention::RopeTable* local_rope() const { return nullptr; }
  virtual linear::InputForms input_forms() const = 0;
  virtual size_t weight_bytes() const = 0;  // packed, in memory
  // W_O of each layer, [n_embd, n_heads * head_dim], for presses that weigh values by it. They live as long
  // as the family. Empty: there is no such matrix.
  virtual std::vector<const linear::PackedMatrix*> output_weights() const { return {}; }

  // Appends the operations of layers [first_layer, end_layer), from tokens where it is the first, to logits
  // where it is the last. With an adapter, whatever it holds is applied to the step's adapted rows; null: no
  // row is adapted. The family and the adapter must outlive the graph.
  virtual void build_graph(StepGraph& graph, StepContext& context, LayerRange layers,
                           const LoraAdapter* lora) const = 0;
};

// Packs the weights on the pool's threads. Throws Error (invalid_model, unsupported) that names the tensor.
std::unique_ptr<Family> load_family(const GgufFile& file, const HParams& hparams, ComputePool& pool);

}  // namespace fastcache::model
