// SPDX-License-Identifier: Apache-2.0
// Bits for each layer by measurement: what quantised pages do to the output of a layer's attention, and the
// best bits for an average. For the press quantized(layer_bits=[...]).
// source: KVTuner, arXiv 2502.04420 (sensitivity of layers; the search here is exact, for errors that add up)
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/query_record.h"

namespace fastcache::press {

constexpr std::array<int, 3> kTunedBits{2, 4, 8};

// Of one layer, by kTunedBits: |output with quantised rows - output|^2 / |output|^2, mean over query heads
// and queries.
using BitErrors = std::array<double, kTunedBits.size()>;

// [n_layers]. The sequence's rows as they are stored are the truth; all but the last n_residual rows of each
// head are quantised beside it, nothing changes. record: with the last queries of the sequence's tokens.
std::vector<BitErrors> measure_bit_errors(const kv::PagePool& pool, const kv::Sequence& sequence,
                                          const model::QueryRecord& record, int n_residual,
                                          ComputePool& threads);

// [n_layers]: bits with the smallest sum of errors whose average is at most average_bits. Of equal sums the
// one with fewer bits. Throws Error (bad_request) for an average that is not from 2 to 8.
std::vector<int> choose_layer_bits(std::span<const BitErrors> errors, double average_bits);

}  // namespace fastcache::press
