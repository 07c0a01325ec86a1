// SPDX-License-Identifier: Apache-2.0
// Dequantises one row of a packed matrix. The same value as the file's, bit for bit: scale * code is exact in
// f32 for every type but Q6_K, whose one rounding is the file format's own.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/bf16.h"
#include "linear/packed_impl.h"

namespace fastcache::linear {
namespace {

float float_weight(Codes codes, const std::byte* at) {
  uint16_t half;
  float value;
  std::memcpy(&half, at, sizeof half);
  if (codes == Codes::f16) return f16_to_f32(half);
  if (codes == Codes::bf16) return bf16_to_f32(half);
  std::memcpy(&value, at, sizeof value);
  return value;
}

float stored_scale(const Format& format, const std::byte* array, int index) {
  return float_weight(format.half_scales ? Codes::f16 : Codes::f32,
                      array + index * (format.half_scales ? 2 : 4));
}

// Channels [begin, end) of a block.
void get_quantised(const Format& format, const std::byte* record, int column, int begin, int end,
                   float* out) {
  const std::byte* codes = record + format.codes_offset();
  const int per_scale = kBlockChannels / format.sub_blocks;
  const int offset = format.has_min ? 0 : 1 << format.offset_shift;
  float scale = 0, min = 0;
  for (int i = begin; i < end; ++i) {
    if (i == begin || i % per_scale == 0) {
      const int at = i / per_scale * kStripColumns + column;
      scale = stored_scale(format, record, at);
      if (format.has_min) min = stored_scale(format, record + format.scale_bytes(), at);
    }
    const int group = i / 4, byte = column * 4 + i % 4;
    const int code = format.codes == Codes::u8
                         ? static_cast<int>(codes[group * 64 + byte])
                         : static_cast<int>(codes[group / 2 * 64 + byte]) >> (4 * (group % 2)) & 15;
    const float product = scale * static_cast<float>(code - offset);
    out[i - begin] = format.has_min ? product + min : product;
  }
}

}  // namespace

void get_row(const PackedMatrix& matrix, int row, float* out) {
  get_row_part(matrix, row, 0, matrix.n_in(), out);
}

void get_row_part(const PackedMatrix& matrix, int row, int first_channel, int n_channels, float* out) {
  assert(first_channel >= 0 && n_channels >= 0 && first_channel + n_channels <= matrix.n_in());
  const PackedMatrix::Impl& impl = matrix.impl();
  const Segment* segment = &impl.segments[0];
  while (row >= segment->first_column + segment->n_columns) ++segment;
  const int local = row - segment->first_column;
  const Strip strip = impl.strip(segment->first_strip + local / kStripColumns);
  const Format& format = format_of(strip.format);
  const int column = local % kStripColumns;
  const size_t size = format.codes == Codes::f32 ? 4 : 2;
  const int end_channel = first_channel + n_channels;
  for (int channel = first_channel; channel < end_channel;) {
    const int block = channel / kBlockChannels, begin = channel % kBlockChannels;
    const int end = std::min(kBlockChannels, end_channel - block * kBlockChannels);
    const std::byte* record = strip.data + format.record_bytes() * static_cast<size_t>(block);
    if (format.is_float()) {
      for (int i = begin; i < end; ++i)
        out[i - begin] = float_weight(format.codes, record + float_index(format.codes, i, column) * size);
    } else {
      get_quantised(format, record, column, begin, end, out);
    }
    out += end - begin;
    channel += end - begin;
  }
}

}  // namespace fastcache::linear
