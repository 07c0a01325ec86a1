// SPDX-License-Identifier: Apache-2.0
// Reads the quantised blocks of a GGUF file: 32 channels of one row at a time, as unsigned codes with scale
// and min.
#pragma once

#include <cstddef>
#include <cstdint>

#include "linear/format.h"

namespace fastcache::linear {

// 32 channels of one output column. Element [1] of the arrays is used where the format has two sub-blocks.
struct SourceBlock {
  uint8_t codes[kBlockChannels];
  float scale[2];
  float min[2];            // formats with has_min
  uint16_t half_scale[2];  // the file's own bits, formats with half_scales
  uint16_t half_min[2];
};

struct SourceType {
  int ggml_type;
  const char* name;  // as in the file: "Q4_K"
  FormatId format;
  int channels;        // per block of the file; n_in must be a multiple
  size_t block_bytes;  // bytes per block of the file
  void (*read)(const std::byte* row, int block32, SourceBlock& out);  // null for float types
};

// Null when pack() does not take the type.
const SourceType* find_source_type(int ggml_type);

}  // namespace fastcache::linear
