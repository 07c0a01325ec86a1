// SPDX-License-Identifier: Apache-2.0
// Reading many rows gives the very bits of read_row, whatever the type, the page borders and the range.
#include "kv/head_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/test_seed.h"
#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

std::vector<float> random_row(std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> row(2 * kTestHeadDim);
  for (float& x : row) x = normal(random);
  return row;
}

void append_random(Sequence& sequence, int n, std::mt19937_64& random) {
  ASSERT_TRUE(sequence.append_text(std::vector<int32_t>(n, 1)));
  for (int i = 0; i < n; ++i) {
    const RowSlot slot = sequence.slot(0, 0, i);
    const std::vector<float> row = random_row(random);
    write_row(slot.page, slot.type, kTestHeadDim, slot.row, row.data(), row.data() + kTestHeadDim);
  }
}

void expect_same_rows(const PagePool& pool, const Sequence& sequence, int begin, int n) {
  const size_t size = static_cast<size_t>(n) * kTestHeadDim;
  constexpr float kUntouched = 12345.0f;
  std::vector<float> k(size + 1, kUntouched), v(size + 1, kUntouched);
  read_head_rows(pool.memory(), kTestHeadDim, sequence.head_rows(0, 0), begin, n, k.data(), nullptr);
  read_head_rows(pool.memory(), kTestHeadDim, sequence.head_rows(0, 0), begin, n, nullptr, v.data());
  for (int r = 0; r < n; ++r) {
    const TestRow row = stored_row(sequence.row(0, 0, begin + r));
    const size_t at = static_cast<size_t>(r) * kTestHeadDim;
    ASSERT_EQ(std::memcmp(&k[at], row.data(), kTestHeadDim * sizeof(float)), 0) << begin << "+" << r;
    ASSERT_EQ(std::memcmp(&v[at], row.data() + kTestHeadDim, kTestHeadDim * sizeof(float)), 0);
  }
  EXPECT_EQ(k[size], kUntouched);
  EXPECT_EQ(v[size], kUntouched);
}

TEST(HeadReader, AnyRangeOfAnyTypeIsWhatReadRowGives) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : {KvType::f32, KvType::bf16, KvType::int8}) {
    PagePool pool{test_pool(40, 0, {type})};
    Sequence sequence{pool, {.n_layers = 1, .n_kv_heads = 1, .type = type}};
    append_random(sequence, 75, random);
    for (int i = 0; i < 200; ++i) {
      const int begin = static_cast<int>(random() % 76);
      expect_same_rows(pool, sequence, begin, static_cast<int>(random() % (76 - begin)));
    }
  }
}

TEST(HeadReader, CrossesPartlyFilledPagesOfDifferentTypes) {
  std::mt19937_64 random{test_seed()};
  PagePool pool{test_pool(40, 0, {KvType::bf16, KvType::int8})};
  Sequence sequence{pool, {.n_layers = 1, .n_kv_heads = 1, .type = KvType::bf16}};
  append_random(sequence, 50, random);
  std::vector<int32_t> tokens;
  std::vector<float> k, v;
  for (int t = 0; t < 45; ++t) {
    const std::vector<float> row = random_row(random);
    tokens.push_back(t);
    k.insert(k.end(), row.begin(), row.begin() + kTestHeadDim);
    v.insert(v.end(), row.begin() + kTestHeadDim, row.end());
  }
  ASSERT_TRUE(
      sequence.replace_rows(0, 0, {.type = KvType::int8, .tokens = tokens, .k = k.data(), .v = v.data()}));
  append_random(sequence, 21, random);  // bf16 behind 45 int8 rows in pages of 32
  ASSERT_EQ(sequence.table(0, 0).entries.size(), 4U);
  for (int begin = 0; begin < 66; ++begin) expect_same_rows(pool, sequence, begin, 66 - begin);
}

}  // namespace
}  // namespace fastcache::kv
