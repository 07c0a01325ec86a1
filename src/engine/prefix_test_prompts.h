// SPDX-License-Identifier: Apache-2.0
// For tests: sequences whose rows say after which tokens, in which namespace, they were computed, as a
// model's do. A hit on a wrong prefix thus holds wrong rows.
#pragma once

#include <cstring>
#include <vector>

#include "engine/prefix_chain.h"
#include "kv/test_rows.h"

namespace fastcache::engine {

using Tokens = std::vector<kv::Token>;
using Digests = std::vector<Hash128>;

inline Tokens text(const std::vector<int32_t>& ids) {
  Tokens tokens;
  for (const int32_t id : ids) tokens.push_back(kv::text_token(id, static_cast<int32_t>(tokens.size())));
  return tokens;
}

inline Tokens text_of(int n, int32_t first_id) {
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i) ids.push_back(first_id + i);
  return text(ids);
}

// [tokens]: the content of each token's row; depends on all tokens up to it.
inline std::vector<uint32_t> row_ids(const PrefixNamespace& name, const Tokens& tokens,
                                     const Digests& digests) {
  const std::string who = name.tenant_salt + "|" + name.press + "|" + name.adapter;
  uint64_t story = hash64(std::as_bytes(std::span{who}));
  std::vector<uint32_t> ids;
  for (const kv::Token& token : tokens) {
    story = hash64(std::as_bytes(std::span{&token, 1}), story);
    if (token.image >= 0 && token.image < static_cast<int32_t>(digests.size()))
      story = hash64(std::as_bytes(std::span{&digests[token.image], 1}), story);
    ids.push_back(static_cast<uint32_t>(story));
  }
  return ids;
}

// Makes the sequence, which holds the first of the tokens, hold them all. False: no pages.
inline bool append_rest(kv::Sequence& sequence, const PrefixNamespace& name, const Tokens& tokens,
                        const Digests& digests = {}) {
  const int first = sequence.token_count();
  if (!sequence.append(std::span{tokens}.subspan(first))) return false;
  const std::vector<uint32_t> ids = row_ids(name, tokens, digests);
  kv::write_new_rows(sequence, {ids.begin() + first, ids.end()});
  return true;
}

inline void expect_rows_of(const kv::Sequence& sequence, const PrefixNamespace& name, const Tokens& tokens,
                           const Digests& digests = {}) {
  ASSERT_LE(sequence.token_count(), static_cast<int>(tokens.size()));
  for (int t = 0; t < sequence.token_count(); ++t)
    ASSERT_EQ(sequence.tokens()[t], tokens[t]) << "token " << t;
  const std::vector<uint32_t> ids = row_ids(name, tokens, digests);
  const kv::CacheShape& shape = sequence.shape();
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      for (int r = 0; r < sequence.rows_held(layer, head); ++r)
        ASSERT_EQ(kv::stored_row(sequence.row(layer, head, r)),
                  kv::test_row(ids[sequence.row_token(layer, head, r)], layer * shape.n_kv_heads + head))
            << "layer " << layer << " head " << head << " row " << r;
}

// Keeps every second row of each head.
inline kv::Sequence& halve(kv::Sequence& sequence) {
  const int n_kv_heads = sequence.shape().n_kv_heads;
  for (int pair = 0; pair < sequence.shape().n_heads(); ++pair) {
    std::vector<int32_t> rows;
    for (int r = pair % 2; r < sequence.rows_held(pair / n_kv_heads, pair % n_kv_heads); r += 2)
      rows.push_back(r);
    EXPECT_TRUE(sequence.keep_rows(pair / n_kv_heads, pair % n_kv_heads, rows));
  }
  return sequence;
}

}  // namespace fastcache::engine
