// SPDX-License-Identifier: Apache-2.0
// Dequantises one row of a packed matrix. The same value as the file's, bit for bit: scale * code is exact in
// f32 for every type but Q6_K, whose one rounding is the file format's own.
#include <cmath>
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

void get_quantised(const Format& format, const std::byte* record, int column, float* out) {
  const std::byte* codes = record + format.codes_offset();
  for (int i = 0; i < kBlockChannels; ++i) {
    const int group = i / 4, byte = column * 4 + i % 4;
    const int code = format.codes == Codes::u8
                         ? static_cast<int>(codes[group * 64 + byte])
                         : static_cast<int>(codes[group / 2 * 64 + byte]) >> (4 * (group % 2)) & 15;
    const int at = i * format.sub_blocks / kBlockChannels * kStripColumns + column;
    const float scale = stored_scale(format, record, at);
    out[i] = format.has_min ? std::fma(scale, static_cast<float>(code),
                                       stored_scale(format, record + format.scale_bytes(), at))
                            : scale * static_cast<float>(code - (1 << format.offset_shift));
  }
}

}  // namespace

void get_row(const PackedMatrix& matrix, int row, float* out) {
  const PackedMatrix::Impl& impl = matrix.impl();
  const Segment* segment = &impl.segments[0];
  while (row >= segment->first_column + segment->n_columns) ++segment;
  const int local = row - segment->first_column;
  const Strip strip = impl.strip(segment->first_strip + local / kStripColumns);
  const Format& format = format_of(strip.format);
  const int column = local % kStripColumns;
  for (int b = 0; b < impl.n_in / kBlockChannels; ++b, out += kBlockChannels) {
    const std::byte* record = strip.data + format.record_bytes() * static_cast<size_t>(b);
    if (!format.is_float()) {
      get_quantised(format, record, column, out);
      continue;
    }
    const size_t size = format.codes == Codes::f32 ? 4 : 2;
    for (int i = 0; i < kBlockChannels; ++i) {
      out[i] = float_weight(format.codes, record + float_index(format.codes, i, column) * size);
    }
  }
}

}  // namespace fastcache::linear
