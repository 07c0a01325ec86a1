// SPDX-License-Identifier: Apache-2.0
// Qwen2 and Qwen2.5, and the text side of Qwen2-VL and Qwen2.5-VL: llama's graph with biases on q, k and v.
// The VL models take three positions a token (M-RoPE): that is the rope table's part, and for text all three
// are equal. source: arXiv 2407.10671 (Qwen2), 2409.12191 (Qwen2-VL)
#pragma once

#include <memory>

#include "model/family.h"

namespace fastcache::model {

std::unique_ptr<Family> load_qwen2(const GgufFile& file, const HParams& hparams, ComputePool& pool);

}  // namespace fastcache::model
