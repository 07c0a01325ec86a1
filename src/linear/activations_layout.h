// SPDX-License-Identifier: Apache-2.0
// How Activations lie in memory: tiles of kTileRows rows, so that a kernel walks all rows of a tile with one
// pointer and constant offsets. Rows of one tile may be written by different threads: they share cache lines,
// never bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bf16.h"
#include "linear/format.h"

namespace fastcache::linear {

// One record per block of 32 channels.
struct QuantizedRecord {
  int8_t codes[kTileRows][kBlockChannels];
  float scales[kTileRows];
};

// What a kernel reads for the rows of one tile. Only the arrays that its format needs are touched.
// Index [0]: one sum per 32 channels; index [1]: one per 16.
struct ActivationTile {
  const QuantizedRecord* records = nullptr;          // [n_blocks]
  const float* scaled_sums[2] = {nullptr, nullptr};  // [n_blocks][1 or 2][kTileRows]: scale * sum of codes
  const int32_t* negative_sums[2] = {nullptr, nullptr};  // the same shape: -(sum of codes)
  const bf16_t* rounded = nullptr;                       // [n_blocks][kTileRows][32]
  const float* values = nullptr;                         // [n_blocks][kTileRows][32]
};

// Where one row's quantised blocks go. Element b of each lies b * (its block stride) further.
struct QuantizedSlots {
  QuantizedRecord* records = nullptr;
  float* scaled_sums[2] = {nullptr, nullptr};
  int32_t* negative_sums[2] = {nullptr, nullptr};
  int row = 0;  // within the tile
};

// The bf16 form of an input: nearest, ties to even; magnitudes below 2^-126 become zero, because the
// instruction that does it on AVX-512 reads them so.
inline bf16_t round_activation(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const bool tiny = (bits & 0x7fffffffU) < 0x00800000U;
  return tiny ? static_cast<bf16_t>((bits & 0x80000000U) >> 16) : f32_to_bf16(x);
}

// Stores the block's results; shared by all instruction sets, codes excepted.
inline void store_block_scale(const QuantizedSlots& out, int block, float scale, int sum_low, int sum_high) {
  out.records[block].scales[out.row] = scale;
  const size_t at = static_cast<size_t>(block) * kTileRows + out.row;
  const size_t low = static_cast<size_t>(block) * 2 * kTileRows + out.row;
  out.scaled_sums[0][at] = scale * static_cast<float>(sum_low + sum_high);
  out.scaled_sums[1][low] = scale * static_cast<float>(sum_low);
  out.scaled_sums[1][low + kTileRows] = scale * static_cast<float>(sum_high);
  out.negative_sums[0][at] = -(sum_low + sum_high);
  out.negative_sums[1][low] = -sum_low;
  out.negative_sums[1][low + kTileRows] = -sum_high;
}

}  // namespace fastcache::linear
