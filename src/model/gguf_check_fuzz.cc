// SPDX-License-Identifier: Apache-2.0
// Any bytes: the check accepts or throws Error, and what it accepts can be walked. A good corpus is a folder
// with a few files of write_tiny_model.
#include <cstdlib>

#include "base/error.h"
#include "model/gguf_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const fastcache::model::GgufIndex index = fastcache::model::check_gguf(file, "fuzz");
    for (const auto& tensor : index.tensors) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset) std::abort();
    }
    for (const auto& key : index.keys) {
      if (key.offset > size || key.name.empty()) std::abort();
    }
  } catch (const fastcache::Error& error) {
    if (error.code() != fastcache::Code::invalid_model) std::abort();
  }
  return 0;
}
