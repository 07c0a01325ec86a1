// SPDX-License-Identifier: Apache-2.0
#include "model/qwen2.h"

#include "model/dense_decoder.h"

namespace fastcache::model {

std::unique_ptr<Family> load_qwen2(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  return std::make_unique<DenseDecoder>(file, hparams, DenseParts{.qkv_bias = true}, pool);
}

}  // namespace fastcache::model
