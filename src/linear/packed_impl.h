// SPDX-License-Identifier: Apache-2.0
// What a PackedMatrix holds.
#pragma once

#include <vector>

#include "linear/aligned_buffer.h"
#include "linear/format.h"
#include "linear/linear.h"

namespace fastcache::linear {

// One source tensor: whole strips of one format.
struct Segment {
  FormatId format = FormatId::f32;
  const char* type_name = "";
  int first_column = 0;
  int n_columns = 0;
  int first_strip = 0;
  size_t offset = 0;  // of its first strip, in bytes
  // Strips lie in runs, so that gate and up can alternate: one linear stream for the task that reads both.
  int run_strips = 1;
  size_t run_bytes = 0;  // from one run to the next
};

// 16 output columns (fewer at the end of a segment whose n_out is not a multiple of 16).
struct Strip {
  const std::byte* data = nullptr;
  FormatId format = FormatId::f32;
  int first_column = 0;
  int n_columns = 0;
};

struct PackedMatrix::Impl {
  int n_in = 0, n_out = 0, n_strips = 0;
  bool gate_up = false;  // two segments of equal size, gate first
  std::vector<Segment> segments;
  AlignedBuffer memory;

  size_t strip_bytes(FormatId format) const {
    return format_of(format).record_bytes() * static_cast<size_t>(n_in / kBlockChannels);
  }
  size_t strip_offset(const Segment& segment, int local) const {
    return segment.offset + segment.run_bytes * static_cast<size_t>(local / segment.run_strips) +
           strip_bytes(segment.format) * static_cast<size_t>(local % segment.run_strips);
  }
  Strip strip(int index) const {
    const Segment* segment = &segments[0];
    while (index >= segment->first_strip + ceil_div(segment->n_columns, kStripColumns)) ++segment;
    const int local = index - segment->first_strip;
    const int left = segment->n_columns - local * kStripColumns;
    return {memory.data() + strip_offset(*segment, local), segment->format,
            segment->first_column + local * kStripColumns, left < kStripColumns ? left : kStripColumns};
  }
};

}  // namespace fastcache::linear
