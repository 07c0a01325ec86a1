// SPDX-License-Identifier: Apache-2.0
// Llama-like decoders: SmolLM2, Llama 2 and 3, Mistral. RMS norm, grouped query attention with RoPE, gated
// SiLU. source: arXiv 2302.13971 (Llama), 2310.06825 (Mistral)
#pragma once

#include <memory>

#include "model/family.h"

namespace fastcache::model {

std::unique_ptr<Family> load_llama(const GgufFile& file, const HParams& hparams, ComputePool& pool);

}  // namespace fastcache::model
