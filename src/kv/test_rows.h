// SPDX-License-Identifier: Apache-2.0
// For tests: rows whose values say whose they are, exact in every element type, written and checked through
// the tables.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "kv/accounting.h"
#include "kv/sequence.h"

namespace fastcache::kv {

constexpr int kTestHeadDim = 16;
using TestRow = std::array<float, 2 * kTestHeadDim>;  // K, then V

inline PoolOptions test_pool(int n_pages, int reserve_pages = 0, std::vector<KvType> types = {KvType::bf16}) {
  size_t side = 0;
  for (const KvType type : types) side = std::max(side, page_side_bytes(type));
  return {.head_dim = kTestHeadDim,
          .bytes = (page_payload_bytes(kTestHeadDim) + side) * n_pages,
          .types = std::move(types),
          .reserve_pages = reserve_pages};
}

// Row `id` of the pair-th (layer, head): whole numbers whose largest is 127, so that int8 rows have scale 1.
inline TestRow test_row(uint32_t id, int pair) {
  TestRow row;
  uint64_t x = (uint64_t{id} << 20) + static_cast<uint64_t>(pair);
  for (int d = 0; d < 2 * kTestHeadDim; ++d) {
    if (d % 8 == 0) x = (x ^ (x >> 31) ^ 0x9e3779b97f4a7c15U) * 0xbf58476d1ce4e5b9U;
    row[d] = static_cast<float>(static_cast<int>((x >> (d % 8 * 8)) & 255U) * 254 / 255 - 127);
  }
  row[0] = row[kTestHeadDim] = 127.0f;
  return row;
}

inline void write_test_row(const RowSlot& slot, uint32_t id, int pair) {
  const TestRow row = test_row(id, pair);
  write_row(slot.page, slot.type, kTestHeadDim, slot.row, row.data(), row.data() + kTestHeadDim);
}

inline TestRow stored_row(const RowSlot& slot) {
  TestRow row;
  read_row(slot.page, slot.type, kTestHeadDim, slot.row, row.data(), row.data() + kTestHeadDim);
  return row;
}

// ids: of the tokens of the last append.
inline void write_new_rows(const Sequence& sequence, const std::vector<uint32_t>& ids) {
  const CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      for (size_t i = 0; i < ids.size(); ++i)
        write_test_row(sequence.slot(layer, head, static_cast<int>(i)), ids[i],
                       layer * shape.n_kv_heads + head);
}

// A sequence's story tells its rows apart from others': token t of story s is row (s << 16) + t.
inline bool append_story(Sequence& sequence, int n, uint32_t story) {
  std::vector<int32_t> tokens(n, 1);
  std::vector<uint32_t> ids(n);
  for (int i = 0; i < n; ++i) ids[i] = (story << 16) + static_cast<uint32_t>(sequence.token_count() + i);
  if (!sequence.append_text(tokens)) return false;
  write_new_rows(sequence, ids);
  return true;
}

inline void expect_story(const Sequence& sequence, uint32_t story) {
  const CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      for (int r = 0; r < sequence.rows_held(layer, head); ++r) {
        const uint32_t id = (story << 16) + static_cast<uint32_t>(sequence.row_token(layer, head, r));
        ASSERT_EQ(stored_row(sequence.row(layer, head, r)), test_row(id, layer * shape.n_kv_heads + head))
            << "layer " << layer << " head " << head << " row " << r;
      }
}

// Behind a page's used rows there are zeros, but for cut rows that the next append() will see to.
inline void expect_clean_tails(const PagePool& pool, const Sequence& sequence) {
  const CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      const HeadTable& table = sequence.table(layer, head);
      for (const TableEntry& entry : table.entries) {
        if (table.stale_tail && &entry == &table.entries.back()) continue;
        if (is_quantized(entry.type)) continue;
        for (int r = entry.rows_used; r < rows_per_page(entry.type); ++r)
          ASSERT_EQ(stored_row({pool.page(entry.page), r, entry.type}), TestRow{})
              << "page " << entry.page << " row " << r;
      }
    }
}

}  // namespace fastcache::kv
