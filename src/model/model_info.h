// SPDX-License-Identifier: Apache-2.0
// What a GGUF file is, for people: `fastcache info`. Needs no vocabulary and no weights in memory, and works
// for architectures that have no graph here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kv/page_layout.h"
#include "model/gguf_file.h"
#include "model/hparams.h"

namespace fastcache::model {

struct TypeShare {
  ggml_type type = GGML_TYPE_F32;
  uint64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t bytes = 0;
};

struct ModelInfo {
  std::string path;
  std::string architecture;  // general.architecture, or "unknown"
  std::string name;          // general.name, or empty
  uint64_t file_bytes = 0;
  uint64_t parameters = 0;         // elements of all tensors
  std::vector<TypeShare> types;    // most bytes first
  std::optional<HParams> hparams;  // none: this build cannot run the model
  std::string why_not;             // then: the reason
};

ModelInfo model_info(const GgufFile& file);

// Bytes in the pool for one token over all layers and heads, the pages' side areas included.
uint64_t kv_bytes_per_token(const HParams& hparams, kv::KvType type);
// Tokens of one sequence that a pool of this size can hold: it takes whole pages for each layer and head.
uint64_t kv_tokens_in(const HParams& hparams, kv::KvType type, uint64_t pool_bytes);

}  // namespace fastcache::model
