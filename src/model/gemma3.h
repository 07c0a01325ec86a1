// SPDX-License-Identifier: Apache-2.0
// Gemma 3: embeddings times sqrt(width), norms before and behind attention and feed-forward, an RMS norm of
// each head of q and k, tanh-GELU gates; most layers are local, with a sliding window and RoPE of their own.
// Norm weights are used as the file has them: the converter has added the 1. source: arXiv 2503.19786
#pragma once

#include <memory>

#include "model/family.h"

namespace fastcache::model {

std::unique_ptr<Family> load_gemma3(const GgufFile& file, const HParams& hparams, ComputePool& pool);

}  // namespace fastcache::model
