// SPDX-License-Identifier: Apache-2.0
// What is added to the scores of a head's rows (merging: ln of the mass that a row stands for). The numbers
// lie in pages of the pool, so they are counted, shared and freed as rows are. Part of Sequence. Owner: the
// engine thread; kernels read through TableEntry::extras during a step.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kv/page_pool.h"

namespace fastcache::kv {

// Never changed once it is made: a head's forks share it, and own its pages together.
struct HeadBias {
  std::vector<PageId> pages;      // f32, entry by entry; no entry's numbers cross a page
  std::vector<RowExtras> extras;  // in the order of entries: what TableEntry::extras points to
};

struct BiasPlan {
  std::vector<size_t> offsets;  // [entries], in floats from the first page's beginning
  std::vector<bool> wanted;     // [entries]: one of its rows has a bias other than 0
  size_t n_pages = 0;
};

// bias: [rows of all entries], or empty: none has any.
BiasPlan plan_bias(std::span<const TableEntry> entries, std::span<const float> bias, int head_dim);

// Writes the biases and points the entries to them. pages: [plan.n_pages], owned by the caller's sequence
// alone; they now belong to what is returned, which is null if there are none.
std::shared_ptr<const HeadBias> write_bias(const PagePool& pool, const BiasPlan& plan,
                                           std::vector<PageId> pages, std::span<const float> bias,
                                           std::span<TableEntry> entries);

}  // namespace fastcache::kv
