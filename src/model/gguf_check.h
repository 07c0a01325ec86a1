// SPDX-License-Identifier: Apache-2.0
// Reads the header of an untrusted GGUF file (versions 2 and 3, little endian) and proves everything that is
// used later: every count, string, array and offset lies inside the file, no size overflows, no name occurs
// twice, and the tensors follow each other without holes, as ggml demands. Stricter than ggml's own reader,
// so that what passes here passes there. Touches no byte of the tensors' data. format:
// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <ggml.h>
#include <gguf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastcache::model {

struct GgufKey {
  std::string_view name;  // points into the file
  gguf_type type;         // of the value, or of an array's elements: never GGUF_TYPE_ARRAY
  bool is_array = false;
  uint64_t count = 1;   // elements
  uint64_t offset = 0;  // of the first element, from the start of the file; not aligned
};

struct GgufTensor {
  std::string name;
  ggml_type type = GGML_TYPE_F32;
  int n_dims = 0;
  std::array<int64_t, 4> dims = {1, 1, 1, 1};  // dims[0]: elements of a row
  uint64_t offset = 0;                         // from the start of the file
  uint64_t bytes = 0;
};

struct GgufIndex {
  uint32_t version = 0;
  uint64_t alignment = 0;
  uint64_t data_offset = 0;  // where the tensors' data begins; equals the file's size if there are none
  std::vector<GgufKey> keys;
  std::vector<GgufTensor> tensors;  // in the file's order
};

// Throws Error (invalid_model): file, where (byte, key or tensor), what is wrong, what would be right. `path`
// is for that message only.
GgufIndex check_gguf(std::span<const std::byte> file, const std::string& path);

std::string shape_text(std::span<const int64_t> dims);  // "[576, 49152]"

}  // namespace fastcache::model
