// SPDX-License-Identifier: Apache-2.0
// The rows of one (sequence, layer, KV head): its pages, and which token each row stands for. Part of
// Sequence.
//
// Invariants: no entry is empty; entries[i].first_row is the sum of rows_used before it, n_rows the sum of
// all. While contiguous, row r is token first_token + r and the last row is the sequence's last token;
// afterwards row_tokens says it, strictly ascending. There is a bias where an entry has extras, which are
// its.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kv/head_bias.h"
#include "kv/page_layout.h"
#include "kv/token_table.h"

namespace fastcache::kv {

struct RowPlace {
  int entry = 0;
  int row = 0;  // within the entry's page
  bool operator==(const RowPlace&) const = default;
};

struct HeadTable {
  std::vector<TableEntry> entries;
  std::shared_ptr<const HeadBias> bias{};  // null: none
  int n_rows = 0;
  int entries_before = 0;  // what a sliding window freed in front of them

  bool contiguous = true;
  int first_token = 0;                 // while contiguous
  std::vector<int32_t> row_tokens;     // [n_rows] afterwards
  std::vector<int32_t> row_positions;  // [n_rows] afterwards, where positions are not token indices

  int n_compressed = 0;  // the first rows: those that came out of the last compression

  RowPlace new_rows;  // where the last append began
  bool stale_tail =
      false;  // rows were cut while the last page was shared: they are still in it, until append()

  int row_token(int row) const { return contiguous ? first_token + row : row_tokens[row]; }
  int n_pages() const {
    return static_cast<int>(entries.size() + (bias == nullptr ? 0 : bias->pages.size()));
  }
  template <class Visit>
  void for_each_page(const Visit& visit) const {
    for (const TableEntry& entry : entries) visit(entry.page);
    if (bias != nullptr)
      for (const PageId page : bias->pages) visit(page);
  }
  int rows_before_token(int token) const;  // rows whose token is smaller
  RowPlace place(int row) const;
  HeadRows view(const TokenTable& tokens) const;

  void renumber();                                               // first_row and n_rows, from rows_used
  void rebuild_positions(const TokenTable& tokens);              // row_positions, from row_tokens
  void push_tokens(int first, int n, const TokenTable& tokens);  // of n rows already counted
  void pop_tokens(int n_kept);
};

}  // namespace fastcache::kv
