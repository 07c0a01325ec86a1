// SPDX-License-Identifier: Apache-2.0
// How the kept rows of a head move together: inside of Sequence::keep_rows, nobody else includes this.
#pragma once

#include <span>
#include <vector>

#include "kv/sequence.h"

namespace fastcache::kv {

// The kept rows packed into as few pages as their order allows. New page i takes the place of old page i: a
// row never moves to a later page or slot than it has, so rows moved in ascending order overwrite nothing
// that is still wanted.
struct Packing {
  enum class How { untouched, in_place, fresh };
  std::vector<TableEntry> entries;  // pages: the old ones, also where a fresh one is to take their place
  std::vector<How> how;             // [entries]
  std::vector<RowPlace> sources;    // [kept rows]
  int first_merged = 0;             // of the kept rows, the first that gets other contents; the rest does
  std::vector<float> bias;          // [kept rows]
  BiasPlan bias_plan;
  std::vector<PageId> idle;  // pages of the head alone, without use for its rows from now on

  size_t n_fresh() const;        // pages to allocate
  size_t n_bias_reused() const;  // idle pages that become those of the biases
};

Packing pack(const HeadTable& head, std::span<const int32_t> rows, const MergedRows& merged,
             const PagePool& pool);

// Pages of the head that nobody else owns, from the nth on.
std::vector<PageId> exclusive_pages(const HeadTable& head, size_t nth, const PagePool& pool);

// Copies and replaces rows, and clears what lies behind them. packing.entries have their new pages by now.
void write_packed(const Packing& packing, const HeadTable& old, const MergedRows& merged,
                  const PagePool& pool);

}  // namespace fastcache::kv
