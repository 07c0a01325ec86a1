// SPDX-License-Identifier: Apache-2.0
#include <cassert>
#include <cstring>

#include "linear/kernels.h"
#include "linear/linear.h"

namespace fastcache::linear {
namespace {

// The arrays of a tile, in this order in memory.
enum { kRecords, kScaledSums, kScaledSums16, kNegativeSums, kNegativeSums16, kRounded, kValues, kArrays };

// Of row `row`'s block in an array [n_blocks][kTileRows][32].
size_t element_of(int row, int first_channel) {
  const size_t block = static_cast<size_t>(first_channel) / kBlockChannels;
  return (block * kTileRows + static_cast<size_t>(row % kTileRows)) * kBlockChannels;
}

void scale_codes(const int8_t* codes, float scale, float* out) {
  for (int i = 0; i < kBlockChannels; ++i) out[i] = scale * static_cast<float>(codes[i]);
}

}  // namespace

InputForms& InputForms::operator|=(InputForms other) {
  int8_blocks |= other.int8_blocks;
  bf16 |= other.bf16;
  f32 |= other.f32;
  return *this;
}

void Activations::reserve(int n_rows, int n_in, InputForms forms) {
  assert(n_rows >= 0 && n_in > 0 && n_in % kBlockChannels == 0);
  n_rows_ = n_rows;
  n_in_ = n_in;
  forms_ = forms;
  const size_t blocks = static_cast<size_t>(n_in) / kBlockChannels;
  const size_t elements = blocks * kTileRows * kBlockChannels;
  const size_t sums = forms.int8_blocks ? blocks * kTileRows * sizeof(float) : 0;
  const size_t sizes[kArrays] = {forms.int8_blocks ? blocks * sizeof(QuantizedRecord) : 0,
                                 sums,
                                 2 * sums,
                                 sums,
                                 2 * sums,
                                 forms.bf16 ? elements * sizeof(bf16_t) : 0,
                                 forms.f32 ? elements * sizeof(float) : 0};
  tile_bytes_ = 0;
  for (int i = 0; i < kArrays; ++i) {
    offsets_[i] = tile_bytes_;
    tile_bytes_ += (sizes[i] + 63) / 64 * 64;
  }
  const size_t bytes = tile_bytes_ * static_cast<size_t>(ceil_div(n_rows, kTileRows));
  if (bytes > memory_.size()) memory_ = AlignedBuffer(bytes);
}

ActivationTile Activations::tile(int index) const {
  const std::byte* base = memory_.data() + static_cast<size_t>(index) * tile_bytes_;
  ActivationTile tile;
  tile.records = reinterpret_cast<const QuantizedRecord*>(base + offsets_[kRecords]);
  for (int i = 0; i < 2; ++i) {
    tile.scaled_sums[i] = reinterpret_cast<const float*>(base + offsets_[kScaledSums + i]);
    tile.negative_sums[i] = reinterpret_cast<const int32_t*>(base + offsets_[kNegativeSums + i]);
  }
  tile.rounded = reinterpret_cast<const bf16_t*>(base + offsets_[kRounded]);
  tile.values = reinterpret_cast<const float*>(base + offsets_[kValues]);
  return tile;
}

QuantizedSlots Activations::slots(int row, int first_channel) {
  const ActivationTile tile = this->tile(row / kTileRows);  // our own memory: the const_casts are sound
  const size_t block = static_cast<size_t>(first_channel) / kBlockChannels;
  QuantizedSlots slots;
  slots.row = row % kTileRows;
  slots.records = const_cast<QuantizedRecord*>(tile.records) + block;
  for (size_t i = 0; i < 2; ++i) {
    slots.scaled_sums[i] = const_cast<float*>(tile.scaled_sums[i]) + block * kTileRows * (i + 1);
    slots.negative_sums[i] = const_cast<int32_t*>(tile.negative_sums[i]) + block * kTileRows * (i + 1);
  }
  return slots;
}

bf16_t* Activations::rounded_slot(int row, int first_channel) {
  return const_cast<bf16_t*>(tile(row / kTileRows).rounded) + element_of(row, first_channel);
}

float* Activations::value_slot(int row, int first_channel) {
  return const_cast<float*>(tile(row / kTileRows).values) + element_of(row, first_channel);
}

void Activations::set_part_with(const KernelTable& table, int row, int first_channel, int n_channels,
                                const float* x) {
  assert(row >= 0 && row < n_rows_ && first_channel >= 0 && first_channel + n_channels <= n_in_);
  assert(first_channel % kBlockChannels == 0 && n_channels % kBlockChannels == 0);
  const int n_blocks = n_channels / kBlockChannels;
  if (forms_.int8_blocks) table.quantize(x, n_blocks, slots(row, first_channel));
  if (forms_.bf16) table.round(x, n_blocks, rounded_slot(row, first_channel));
  if (forms_.f32) {
    float* to = value_slot(row, first_channel);
    for (int b = 0; b < n_blocks; ++b) {
      std::memcpy(to + static_cast<size_t>(b) * kTileRows * kBlockChannels,
                  x + static_cast<size_t>(b) * kBlockChannels, kBlockChannels * sizeof(float));
    }
  }
}

void Activations::set_part(int row, int first_channel, int n_channels, const float* x) {
  set_part_with(kernels(), row, first_channel, n_channels, x);
}

void Activations::get_row(int row, float* out) const {
  const ActivationTile from = tile(row / kTileRows);
  const int r = row % kTileRows;
  const auto row_of_block = [r](int block) {
    return (static_cast<size_t>(block) * kTileRows + static_cast<size_t>(r)) * kBlockChannels;
  };
  for (int block = 0; block < n_in_ / kBlockChannels; ++block, out += kBlockChannels) {
    if (forms_.int8_blocks) {
      scale_codes(from.records[block].codes[r], from.records[block].scales[r], out);
    } else if (forms_.bf16) {
      const bf16_t* rounded = from.rounded + row_of_block(block);
      for (int i = 0; i < kBlockChannels; ++i) out[i] = bf16_to_f32(rounded[i]);
    } else {
      std::memcpy(out, from.values + row_of_block(block), kBlockChannels * sizeof(float));
    }
  }
}

}  // namespace fastcache::linear
