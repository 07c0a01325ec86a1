// SPDX-License-Identifier: Apache-2.0
#include "model/qwen3.h"

#include "model/dense_decoder.h"

namespace fastcache::model {

// Biases: the format lets a file have them.
std::unique_ptr<Family> load_qwen3(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  return std::make_unique<DenseDecoder>(file, hparams, DenseParts{.qkv_bias = true, .qk_norm = true}, pool);
}

}  // namespace fastcache::model
