// SPDX-License-Identifier: Apache-2.0
#include "kv/head_table.h"

#include <algorithm>
#include <cassert>

namespace fastcache::kv {

int HeadTable::rows_before_token(int token) const {
  if (contiguous) return std::clamp(token - first_token, 0, n_rows);
  return static_cast<int>(std::lower_bound(row_tokens.begin(), row_tokens.end(), token) - row_tokens.begin());
}

RowPlace HeadTable::place(int row) const {
  assert(row >= 0 && row < n_rows);
  const auto starts_after = [](int r, const TableEntry& e) { return static_cast<uint32_t>(r) < e.first_row; };
  const auto next = std::upper_bound(entries.begin(), entries.end(), row, starts_after);
  const int entry = static_cast<int>(next - entries.begin()) - 1;
  return {entry, row - static_cast<int>(entries[entry].first_row)};
}

HeadRows HeadTable::view(const TokenTable& tokens) const {
  HeadRows rows{.entries = entries, .n_rows = n_rows, .entries_before = entries_before};
  if (contiguous && tokens.positions_are_indices()) {
    rows.first_position = first_token;
  } else if (contiguous) {
    rows.row_positions = tokens.positions() + first_token;
  } else {
    rows.row_positions = tokens.positions_are_indices() ? row_tokens.data() : row_positions.data();
  }
  return rows;
}

void HeadTable::renumber() {
  n_rows = 0;
  for (TableEntry& entry : entries) {
    entry.first_row = static_cast<uint32_t>(n_rows);
    n_rows += entry.rows_used;
  }
}

void HeadTable::rebuild_positions(const TokenTable& tokens) {
  row_positions.clear();
  if (contiguous || tokens.positions_are_indices()) return;
  row_positions.reserve(row_tokens.size());
  for (const int32_t token : row_tokens) row_positions.push_back(tokens.position(token));
}

void HeadTable::push_tokens(int first, int n, const TokenTable& tokens) {
  if (contiguous) return;
  for (int token = first; token < first + n; ++token) {
    row_tokens.push_back(token);
    if (!tokens.positions_are_indices()) row_positions.push_back(tokens.position(token));
  }
}

void HeadTable::pop_tokens(int n_kept) {
  n_compressed = std::min(n_compressed, n_kept);
  if (contiguous) return;
  row_tokens.resize(n_kept);
  if (!row_positions.empty()) row_positions.resize(n_kept);
}

}  // namespace fastcache::kv
