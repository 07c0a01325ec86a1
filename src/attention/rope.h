// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding: the exact angles of a model, shared by the graph, the attention kernel
// (position_delta) and presses that undo the rotation. Immutable after construction, so any thread may read
// it. source: RoFormer, arXiv 2104.09864; llama3 scaling as in the Llama 3.1 release; YaRN, arXiv 2309.00071;
// M-RoPE, arXiv 2409.12191
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace fastcache::attention {

enum class RopeStyle { adjacent, halves };  // pairs (2i, 2i+1): llama ("norm") | (i, i + n_dims/2): "neox"

struct RopeTable {
  RopeStyle style = RopeStyle::adjacent;
  int n_dims = 0;                        // rotated channels of a head; the rest pass unchanged
  std::vector<float> inverse_frequency;  // [n_dims/2], radians per position, scaling applied
  float magnitude = 1.0f;                // YaRN's factor on cos and sin
  std::vector<uint8_t> section{};        // [n_dims/2]: which of a token's positions turns the pair (M-RoPE);
                                         //   empty: the first turns all
};

// How a model stretches its frequencies to contexts longer than it was trained on.
struct RopeScaling {
  enum class Kind : uint8_t { none, linear, llama3, yarn };
  Kind kind = Kind::none;
  double factor = 1.0;                 // new context / original context
  double original_context = 0.0;       // tokens; llama3 and yarn
  double low_frequency_factor = 1.0;   // llama3
  double high_frequency_factor = 4.0;  // llama3
  double beta_fast = 32.0;             // yarn
  double beta_slow = 1.0;              // yarn
  double extrapolation = 1.0;          // yarn's share of unscaled frequencies: GGUF's ext_factor
  double magnitude = 1.0;              // attention factor of the file, beside yarn's own 1 + ln(factor) / 10
};

// divisors: [n_dims/2] what each frequency is divided by (the tensor rope_freqs.weight), or empty.
// Throws Error (invalid_model) for parameters that make no table.
RopeTable make_rope_table(RopeStyle style, int n_dims, double base, const RopeScaling& scaling = {},
                          std::span<const float> divisors = {});

// Fills cos_sin[n_dims]: cos of pair i at 2i, sin at 2i+1, for one position (negative undoes a rotation when
// magnitude is 1). The angle is computed in double.
void rope_angles(const RopeTable& table, int32_t position, float* cos_sin);
// The same for a token that has several positions (kv::Token::position).
void rope_angles(const RopeTable& table, const std::array<int32_t, 4>& positions, float* cos_sin);

// Rotates one head in place. x: [head_dim].
void rope_rotate(const RopeTable& table, const float* cos_sin, float* x);

}  // namespace fastcache::attention
