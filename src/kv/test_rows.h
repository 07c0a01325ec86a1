// SPDX-License-Identifier: Apache-2.0
// For tests: rows whose values say whose they are (salt, layer, head, token), written and checked through the
// tables.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "kv/accounting.h"
#include "kv/sequence.h"

namespace fastcache::kv {

// A small whole number, exact in every element type but int8.
inline float row_value(int salt, int layer, int head, int token, int channel, bool is_k) {
  uint32_t x =
      static_cast<uint32_t>(((salt * 31 + layer) * 31 + head) * 1000003 + token * 131 + channel * 7 + is_k);
  x = (x ^ (x >> 15)) * 0x2c1b3c6dU;
  return static_cast<float>(static_cast<int>((x >> 13) & 255U) - 128);
}

struct RowPair {
  std::vector<float> k;  // [head_dim]
  std::vector<float> v;
  bool operator==(const RowPair&) const = default;
};

inline RowPair test_row(int head_dim, int salt, int layer, int head, int token) {
  RowPair row{std::vector<float>(head_dim), std::vector<float>(head_dim)};
  for (int d = 0; d < head_dim; ++d) {
    row.k[d] = row_value(salt, layer, head, token, d, true);
    row.v[d] = row_value(salt, layer, head, token, d, false);
  }
  return row;
}

inline RowPair read_slot(const RowSlot& slot, int head_dim) {
  RowPair row{std::vector<float>(head_dim), std::vector<float>(head_dim)};
  read_row(slot.page, slot.type, head_dim, slot.row, row.k.data(), row.v.data());
  return row;
}

// Head dimension of the test pools.
constexpr int kTestHeadDim = 16;

inline void write_new_rows(const Sequence& sequence, int first_token, int n, int salt) {
  const CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      for (int i = 0; i < n; ++i) {
        const RowPair row = test_row(kTestHeadDim, salt, layer, head, first_token + i);
        const RowSlot slot = sequence.slot(layer, head, i);
        write_row(slot.page, slot.type, kTestHeadDim, slot.row, row.k.data(), row.v.data());
      }
}

inline bool append_and_write(Sequence& sequence, int n, int salt) {
  const int first = sequence.token_count();
  std::vector<int32_t> ids(n);
  for (int i = 0; i < n; ++i) ids[i] = first + i;
  if (!sequence.append_text(ids)) return false;
  write_new_rows(sequence, first, n, salt);
  return true;
}

// Every row holds what was written for its token, and every row behind the used ones of a page of its own is
// zero.
inline void expect_rows(const Sequence& sequence, int salt) {
  const CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      for (int r = 0; r < sequence.rows_held(layer, head); ++r) {
        const int token = sequence.row_token(layer, head, r);
        ASSERT_EQ(read_slot(sequence.row(layer, head, r), kTestHeadDim),
                  test_row(kTestHeadDim, salt, layer, head, token))
            << "layer " << layer << " head " << head << " row " << r << " token " << token;
      }
}

}  // namespace fastcache::kv
