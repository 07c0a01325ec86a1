// SPDX-License-Identifier: Apache-2.0
// Linear layers from ONE canonical packed weight format, the same bytes for prefill (GEMM) and decode (GEMV).
//
// Quantised weights: unsigned 4- or 8-bit codes with a scale and a min per block, 16 output columns
// interleaved; inputs are quantised to int8 with one scale per 32 channels, once per input. The mapping from
// the file's type is exact. Float weights keep their storage type: f32 and f16 are multiplied with f32
// inputs, bf16 with inputs rounded to bf16, once per input; all sums are f32. An output element is summed in
// one fixed order over the input channels (kernels.h states it): its bits depend on neither the number of
// rows, the tile shape nor the number of threads; nor, bf16 weights excepted, on the instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bf16.h"
#include "base/work_range.h"
#include "linear/aligned_buffer.h"
#include "linear/weight_arena.h"

namespace fastcache::linear {

// A weight tensor as it lies in the file (row-major, one row per output channel).
struct WeightSource {
  int ggml_type = 0;           // enum ggml_type
  const void* data = nullptr;  // [n_out rows of n_in weights], the type's block format
  int n_out = 0;
  int n_in = 0;           // multiple of 32
  const char* name = "";  // for error messages
};

struct ActivationTile;
struct QuantizedSlots;
struct KernelTable;
class LowRank;

// What packed matrices multiply with: which forms of their input must be there.
struct InputForms {
  bool int8_blocks = false;  // quantised weights
  bool bf16 = false;         // bf16 weights
  bool f32 = false;          // f16 and f32 weights

  InputForms& operator|=(InputForms other);
};

// Packed weights; immutable, read by all threads. Several sources with the same n_in may be stacked along the
// outputs (q/k/v, gate/up): each segment keeps its own exact type.
class PackedMatrix {
 public:
  PackedMatrix();
  ~PackedMatrix();
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;

  int n_out() const;
  int n_in() const;
  size_t bytes() const;             // held in memory
  std::string description() const;  // "q4 x 576, q8 x 192"
  InputForms input_forms() const;   // what matmul() will read; a mixed stack needs several

  struct Impl;
  const Impl& impl() const { return *impl_; }
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// True for the ggml types that pack() takes: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K..Q6_K, F16, BF16, F32.
bool can_pack(int ggml_type);

// Stacks the sources along the outputs. Throws Error (unsupported) for a type outside can_pack() or an n_in
// that is not a multiple of 32.
// arena: where the packed bytes go, so that the matrices of a model share huge pages; null: memory of its
// own.
PackedMatrix pack(std::span<const WeightSource> sources, WeightArena* arena = nullptr);

// gate above up, paired so that one task computes both halves of the same output channels; only for matmul
// with Epilogue::silu_mul or gelu_mul. Throws Error (unsupported) unless both have the same n_out, a multiple
// of 32.
PackedMatrix pack_gate_up(const WeightSource& gate, const WeightSource& up, WeightArena* arena = nullptr);

// One row of the matrix, dequantised: the token embedding of a tied output head. out: [n_in].
void get_row(const PackedMatrix& matrix, int row, float* out);
// The same of its input channels [first_channel, first_channel + n_channels) alone. out: [n_channels].
void get_row_part(const PackedMatrix& matrix, int row, int first_channel, int n_channels, float* out);

// The input rows of a matmul, in the forms that its weights need. Owned by the step context and reused;
// reserve() on the engine thread, then each row is filled by exactly one thread. Rows lie in tiles of 12 that
// share cache lines: threads that fill 12 neighbours each do not disturb one another. A NaN or an infinity
// makes its whole block NaN in the int8 form.
class Activations {
 public:
  void reserve(int n_rows, int n_in, InputForms forms);

  // Fills row from x [n_in]. Thread-safe for different rows. First channel and length let a producer fill
  // parts of a row (both multiples of 32).
  void set_row(int row, const float* x) { set_part(row, 0, n_in_, x); }
  void set_part(int row, int first_channel, int n_channels, const float* x);

  int n_in() const { return n_in_; }
  int n_rows() const { return n_rows_; }
  InputForms forms() const { return forms_; }

  // What a matmul sees of a row: the int8 form dequantised if there is one, else the bf16 form, else the f32
  // values. out: [n_in].
  void get_row(int row, float* out) const;

  // Private to linear/: the layout of activations_layout.h.
  ActivationTile tile(int index) const;
  QuantizedSlots slots(int row, int first_channel);
  bf16_t* rounded_slot(int row, int first_channel);
  float* value_slot(int row, int first_channel);
  void set_part_with(const KernelTable& table, int row, int first_channel, int n_channels, const float* x);

 private:
  int n_rows_ = 0, n_in_ = 0;
  InputForms forms_;
  size_t offsets_[7] = {};  // of the arrays of a tile of rows, in bytes
  size_t tile_bytes_ = 0;
  AlignedBuffer memory_;
};

enum class Epilogue {
  store,     // out = x W^T
  add,       // out = residual + x W^T (residual may be out itself)
  silu_mul,  // out_activations = silu(x gate^T) * (x up^T); weights by pack_gate_up
  gelu_mul,  // the same with tanh-GELU
};

struct MatmulArgs {
  const PackedMatrix* weights = nullptr;
  const Activations* input = nullptr;
  int n_rows = 0;  // rows of input used
  Epilogue epilogue = Epilogue::store;
  const float* bias = nullptr;             // [n_out] or null; gate_up: gate's, then up's
  float* out = nullptr;                    // [n_rows, out_stride]: store and add
  size_t out_stride = 0;                   // in floats
  const float* residual = nullptr;         // [n_rows, out_stride]: add
  Activations* out_activations = nullptr;  // [n_rows, n_out/2]: silu_mul, gelu_mul
  // An adapter's part, added to x W^T (and bias) of the rows that have a hidden vector; null: there is none.
  const LowRank* low_rank = nullptr;
  const float* const* hidden = nullptr;  // [n_rows]: A x of the row (LowRank::reduce), or null
};

// Does the tasks of one matmul; called once on each compute thread, after range.tasks was reset. Allocates
// nothing, never throws.
void matmul(const MatmulArgs& args, const WorkRange& range) noexcept;

}  // namespace fastcache::linear
