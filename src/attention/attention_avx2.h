// SPDX-License-Identifier: Apache-2.0
// The halves of the AVX2 kernel; each file instantiates its own tiles. To be called on such a CPU only.
#pragma once

#include "attention/attention_kernel.h"

namespace fastcache::attention::avx2 {

// attention_avx2_scores.cc. scores: [block.n_rows][kGroupRows], 64-byte aligned; only those of
// block.n_entries pages are written (rounded up to 16 slots).
template <kv::KvType type>
void find_scores(const CacheGroup& group, const QueryBlock& block, float (*scores)[kGroupRows]);

// attention_avx2_values.cc: block.acc += weights * V. weights: [block.n_rows][kGroupRows].
template <kv::KvType type>
void add_values(const CacheGroup& group, const QueryBlock& block, const float (*weights)[kGroupRows]);

}  // namespace fastcache::attention::avx2
