// SPDX-License-Identifier: Apache-2.0
// Qwen3 (dense): llama's graph with an RMS norm of each head of q and k, and heads whose size is not the
// width over their number. source: arXiv 2505.09388
#pragma once

#include <memory>

#include "model/family.h"

namespace fastcache::model {

std::unique_ptr<Family> load_qwen3(const GgufFile& file, const HParams& hparams, ComputePool& pool);

}  // namespace fastcache::model
