// SPDX-License-Identifier: Apache-2.0
// How many pages a sequence takes for its next tokens: a value, exact, that the scheduler can ask without
// seeing the sequence. Thread-safe: plain data.
#pragma once

#include <array>
#include <cstdint>

#include "kv/page_pool.h"
#include "kv/sequence.h"

namespace fastcache::engine {

// A head takes a page when its last one is full. Uncompressed, all (layer, KV head) tails are equal; after a
// compression each head stands somewhere else: so the tails are counted by the rows that they still take.
struct PageNeed {
  static constexpr int kMaxRowsPerPage = 64;

  int rows_per_page = 16;
  std::array<int32_t, kMaxRowsPerPage> heads_with_room{};  // [room]: how many heads; room < rows_per_page
  int32_t shared_tails = 0;  // heads whose last page is copied before its next row is written

  // For n_tokens more rows in every head; grows with n_tokens, 0 for 0.
  int64_t pages_for(int n_tokens) const;
  // The most tokens, at most n_tokens, that so many pages are enough for.
  int tokens_within(int n_tokens, int64_t n_pages) const;
  // The need once n_tokens were appended.
  PageNeed after(int n_tokens) const;
  int heads_with_open_tail() const;
};

// Of a sequence without tokens (or whose pages are all full).
PageNeed empty_page_need(int n_heads, int rows_per_page);

// Pages that one sequence takes for n_tokens, and then n_forks copies of it for n_answer_tokens each: the
// last fork to write keeps the shared tails, the others copy them.
int64_t pages_with_forks(const PageNeed& need, int n_tokens, int n_forks, int n_answer_tokens);

// pages_for(n) == sequence.pages_to_append(n). Walks the tables.
PageNeed page_need_of(const kv::Sequence& sequence, const kv::PagePool& pool);

}  // namespace fastcache::engine
