// SPDX-License-Identifier: Apache-2.0
// A language model's hyperparameters, read from GGUF metadata, and the one table of the architectures that
// have a graph. Everything is range-checked here, so that the graph and the pool may trust it.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/rope.h"
#include "model/gguf_file.h"

namespace fastcache::model {

struct Architecture {
  const char* name;  // as in general.architecture
  attention::RopeStyle rope_style;
  const char* models;  // for people: which models these are
};
std::span<const Architecture> architectures();
const Architecture& find_architecture(
    const GgufFile& file);  // throws Error (unsupported) that lists what there is

enum class RopeScaling { none, linear, yarn };

struct HParams {
  const Architecture* architecture = nullptr;
  std::string name;  // general.name, or empty

  int n_layers = 0;
  int n_embd = 0;  // multiple of 32
  int n_ff = 0;    // multiple of 32
  int n_heads = 0;
  int n_kv_heads = 0;  // divides n_heads
  int head_dim = 0;    // of K and of V; multiple of 16
  int n_vocab = 0;
  int context_length = 0;  // positions the model was trained for
  float rms_eps = 0;
  float attention_scale = 0;     // on q k; 1/sqrt(head_dim) unless the file says otherwise
  float embedding_scale = 1.0f;  // on token embeddings

  std::vector<bool>
      local_layers{};      // [n_layers]: those with a sliding window and RoPE of their own; or empty
  int sliding_window = 0;  // of these: a query at p sees positions > p - sliding_window
  float local_rope_base = 10000.0f;  // of these; nothing scales it
  bool has_local_layers() const { return !local_layers.empty(); }
  bool is_local(int layer) const { return has_local_layers() && local_layers[static_cast<size_t>(layer)]; }

  int rope_dims = 0;  // rotated channels, even, <= head_dim
  float rope_base = 10000.0f;
  std::array<int, 4> rope_sections{};  // M-RoPE: pairs that each of a token's positions turns; 0: not M-RoPE
  RopeScaling rope_scaling = RopeScaling::none;
  float rope_factor = 1.0f;            // context is stretched by this
  int rope_original_context = 0;       // YaRN: context_length before
  float rope_attention_factor = 1.0f;  // on cos and sin
  float yarn_beta_fast = 32.0f;
  float yarn_beta_slow = 1.0f;
};

// Throws Error: invalid_model names the key; unsupported says which feature (experts, heads that differ by
// layer, ...).
HParams read_hparams(const GgufFile& file);

// freq_factors: rope_freqs.weight [rope_dims/2] (Llama 3.1 scaling) or empty.
attention::RopeTable make_rope(const HParams& hparams, std::span<const float> freq_factors);
// Of the local layers.
attention::RopeTable make_local_rope(const HParams& hparams);
// The same with the file's rope_freqs.weight, if it has one. Marks the tensor as taken.
attention::RopeTable read_rope(const HParams& hparams, TensorReader& tensors);

}  // namespace fastcache::model
