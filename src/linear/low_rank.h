// SPDX-License-Identifier: Apache-2.0
// What a low-rank adapter adds to a packed matrix: y += B (A x), for some rows of a batch and not for others.
// Factors and sums are f32. Channels are summed in order, each row by itself and without fused multiply-add:
// the bits of a row depend on neither its companions nor the instruction set.
// source: arXiv 2106.09685 (LoRA)
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace fastcache::linear {

// The factors of one of the matrices that a PackedMatrix stacks.
struct LowRankSource {
  int first_column = 0;  // of its outputs in the stack
  int n_out = 0;
  int rank = 0;
  const float* a = nullptr;  // [rank, n_in]
  const float* b = nullptr;  // [n_out, rank]
  float scale = 1.0f;        // on their product
};

// Immutable; any thread may read it. Sources are copied.
class LowRank {
 public:
  LowRank(int n_in, std::span<const LowRankSource> sources);

  int n_in() const { return n_in_; }
  int hidden_width() const { return hidden_width_; }  // of A x, of all sources; a multiple of 16
  size_t bytes() const;

  // hidden[i] [hidden_width] = A x[i], for x[i] [n_in]. Allocates nothing.
  void reduce(std::span<const float* const> x, std::span<float* const> hidden) const noexcept;

  // Whether the 16 columns from this one on belong to a source. Sources begin where a strip of the stack
  // does.
  bool reaches(int first_column) const { return find(first_column) != nullptr; }
  // Adds the columns [first_column, first_column + 16) of B h to each row that has an h. hidden: [n_rows],
  // null for a row that stays as it is; out: [n_rows, 16]. Behind a source's last column nothing is added.
  void add_strip(int first_column, std::span<const float* const> hidden, float* out) const noexcept;

 private:
  struct Part {
    int first_column = 0, n_out = 0, rank = 0, first_hidden = 0;
    std::vector<float> up;  // scale * B: [strips of 16 columns][rank][16]
  };
  const Part* find(int first_column) const;

  int n_in_ = 0, hidden_width_ = 0;
  std::vector<float> down_;  // A: [strips of 16 hidden channels][n_in][16]
  std::vector<Part> parts_;
};

}  // namespace fastcache::linear
