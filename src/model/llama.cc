// SPDX-License-Identifier: Apache-2.0
#include "model/llama.h"

#include "model/dense_decoder.h"

namespace fastcache::model {

std::unique_ptr<Family> load_llama(const GgufFile& file, const HParams& hparams, ComputePool& pool) {
  return std::make_unique<DenseDecoder>(file, hparams, DenseParts{.rope_factors = true}, pool);
}

}  // namespace fastcache::model
