// SPDX-License-Identifier: Apache-2.0
// For tests: a small cache of random numbers, written to pages and at hand as plain numbers.
#pragma once

#include <random>

#include "base/test_seed.h"
#include "press/press_string.h"
#include "press/test_press.h"

namespace fastcache::press {

constexpr int kCacheDim = 32;
constexpr int kCacheLayers = 3;
constexpr int kCacheHeads = 2;
constexpr int kPairs = kCacheLayers * kCacheHeads;

struct RandomCache {
  // Keys have a common direction, and a few are long: as in a model.
  RandomCache(int n_rows, uint64_t seed)
      : pool({.head_dim = kCacheDim, .bytes = size_t{4} << 20, .types = {kv::KvType::f32}}),
        sequence(pool, {.n_layers = kCacheLayers, .n_kv_heads = kCacheHeads, .type = kv::KvType::f32}) {
    append(n_rows, seed);
  }

  void append(int n_rows, uint64_t seed) {
    std::mt19937_64 random{seed};
    std::normal_distribution<float> normal;
    EXPECT_TRUE(sequence.append_text(std::vector<int32_t>(n_rows, 1)));
    for (int pair = 0; pair < kPairs; ++pair)
      for (int i = 0; i < n_rows; ++i) {
        std::vector<float> row(2 * kCacheDim);
        const float length = random() % 8 == 0 ? 3.0f : 1.0f;
        for (int d = 0; d < 2 * kCacheDim; ++d)
          row[d] = length * (normal(random) + (d % 4 == 0 ? 1.0f : 0.0f));
        rows.resize(kPairs);
        rows[pair].push_back(row);
        write(sequence.slot(pair / kCacheHeads, pair % kCacheHeads, i), row);
      }
  }

  void set(int pair, int row, float value) {
    rows[pair][row].assign(2 * kCacheDim, value);
    write(sequence.row(pair / kCacheHeads, pair % kCacheHeads, row), rows[pair][row]);
  }

  double k(int pair, int row, int d) const { return rows[pair][row][d]; }
  double v(int pair, int row, int d) const { return rows[pair][row][kCacheDim + d]; }

  static void write(const kv::RowSlot& slot, const std::vector<float>& row) {
    write_row(slot.page, slot.type, kCacheDim, slot.row, row.data(), row.data() + kCacheDim);
  }

  LayerInput layer(int index) const { return {pool, sequence, index, false}; }
  HeadScores scores(const Press& press, int pair) const {
    return press.score(layer(pair / kCacheHeads))[pair % kCacheHeads];
  }

  kv::PagePool pool;
  kv::Sequence sequence;
  std::vector<std::vector<std::vector<float>>> rows;  // [pair][row][K, then V]
};

// What stays when the press has worked: tokens, [kPairs].
inline Tokens kept(std::string_view text, RandomCache& cache, bool new_rows_only = false) {
  const CompressResult result = run_press(parse_press(text), cache.pool, cache.sequence, new_rows_only);
  EXPECT_TRUE(result.uncommitted.empty());
  return tokens_held(cache.sequence);
}

inline Tokens kept(std::string_view text, int n_rows) {
  RandomCache cache(n_rows, test_seed() + n_rows);
  return kept(text, cache);
}

}  // namespace fastcache::press
