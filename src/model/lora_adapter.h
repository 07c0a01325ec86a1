// SPDX-License-Identifier: Apache-2.0
// A low-rank adapter (LoRA) in a GGUF file, as libllama reads it: for some of a model's matrices a pair
// "<weight>.lora_a" [n_in, rank] and "<weight>.lora_b" [rank, n_out], y += alpha / rank * B (A x), or B (A x)
// where alpha is 0 or not given. It is applied beside the weights, never merged into them.
// Immutable; any thread may read it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "linear/low_rank.h"
#include "model/gguf_file.h"
#include "model/hparams.h"

namespace fastcache::model {

// Of a layer, stacked as the decoder stacks its weights; null: nothing is added there.
struct LoraLayer {
  const linear::LowRank* qkv = nullptr;
  const linear::LowRank* output = nullptr;
  const linear::LowRank* gate_up = nullptr;
  const linear::LowRank* down = nullptr;
};

class LoraAdapter {
 public:
  // Checks everything and converts it to f32. Throws Error: not_found, io, invalid_model (damaged; no LoRA
  // adapter; half a pair; a rank of 0, or above 1024; numbers that are not finite), bad_request (an adapter
  // of another model), unsupported (a tensor that no graph here applies, or its type).
  LoraAdapter(const std::string& path, const HParams& hparams);

  LoraLayer layer(int index) const;
  int hidden_width() const { return hidden_width_; }  // the widest A x of all matrices
  int n_matrices() const { return n_matrices_; }      // of the model that it adapts
  size_t bytes() const;                               // held in memory
  const Hash128& digest() const { return digest_; }   // of the file's bytes: who the adapter is

 private:
  struct Layer {
    std::optional<linear::LowRank> qkv, output, gate_up, down;
  };
  void read_layer(const GgufFile& file, const HParams& hparams, int index, float alpha);
  void add(std::optional<linear::LowRank>& to, int n_in, std::span<const linear::LowRankSource> sources);

  std::vector<Layer> layers_;
  int hidden_width_ = 0, n_matrices_ = 0;
  Hash128 digest_;
};

// The layer's part, or nothing where there is no adapter.
inline LoraLayer lora_layer(const LoraAdapter* adapter, int index) {
  return adapter == nullptr ? LoraLayer{} : adapter->layer(index);
}

}  // namespace fastcache::model
