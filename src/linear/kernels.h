// SPDX-License-Identifier: Apache-2.0
// The inner kernels of linear/, one table per instruction set. All tables give the same bits, bf16 weights
// excepted: every output element is
//     for each block of 32 channels, in order; for each of its scales (1, or 2 for blocks of 16):
//       dot  = exact integer sum of code * activation (formats with has_min), or of (code - offset) *
//       activation sum  = fma(float(dot), scale * activation_scale, sum) sum  = fma(min, activation_scale *
//       float(sum of activations), sum)        formats with has_min
// and for float weights: part = 0; part = fma(weight, input, part) over 32 channels in order; sum = sum +
// part. For bf16 weights the input is rounded to bf16, and AVX-512 adds two channels per step with VDPBF16PS,
// whose rounding between the two, and whose flushing of denormals, are its own: each table keeps its own
// fixed order, but their bits differ.
//
// f16 weights stay with f32 inputs: they would be exact as a sum of two bf16 numbers, but two VDPBF16PS take
// as long as the two FMAs that they replace, and the input would have to be rounded.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu_features.h"
#include "linear/activations_layout.h"
#include "linear/format.h"
#include "linear/linear.h"

namespace fastcache::linear {

struct TileArgs {
  const std::byte* strip = nullptr;  // records of 16 columns
  int n_blocks = 0;
  int n_rows = 0;  // 1 .. kTileRows, the first rows of the tile
  ActivationTile input;
  float* out = nullptr;  // [n_rows, out_stride]: 16 columns of each row are written
  size_t out_stride = kStripColumns;
  const float* residual = nullptr;  // the same shape, added to what is written (may be out itself); or null
};

enum class Gate { silu, gelu };

// A tile of 32 channels of gate and up (bias added), and where the gated channels go as the next matmul's
// input.
struct GateTileArgs {
  Gate kind = Gate::silu;
  const float* gate = nullptr;            // [2 strips][kTileRows][16]
  const float* up = nullptr;              // the same shape
  int n_rows = 0;                         // the first rows of the tile
  const QuantizedSlots* slots = nullptr;  // the block in row 0 of the tile, or null
  bf16_t* rounded = nullptr;              // [kTileRows][32], or null
  float* values = nullptr;                // the same shape, or null
};

struct KernelTable {
  Isa isa;
  std::array<void (*)(const TileArgs&), kFormatCount> tile;  // by FormatId
  void (*quantize)(const float* x, int n_blocks, const QuantizedSlots& out);
  // round_activation() of one row; a block of 32 lies kTileRows * 32 elements behind the one before it.
  void (*round)(const float* x, int n_blocks, bf16_t* out);
  // out[i] = silu(gate[i]) * up[i], or gelu; n is a multiple of 16. silu(x) = x / (1 + exp(-x)), exp within
  // 1e-6.
  void (*gate_up)(Gate kind, const float* gate, const float* up, int n, float* out);
  void (*gate_tile)(const GateTileArgs& args);  // gate_up, quantize and round in one pass
};

extern const KernelTable kPortableKernels;
#if defined(__x86_64__)
extern const KernelTable kAvx2Kernels, kAvx512Kernels;
#endif

std::span<const KernelTable* const> supported_kernels();  // on this CPU, best first
const KernelTable& kernels();                             // for selected_isa(); may throw at the first call

// matmul() with the kernels named by the caller.
void matmul_with(const KernelTable& table, const MatmulArgs& args, const WorkRange& range) noexcept;

}  // namespace fastcache::linear
