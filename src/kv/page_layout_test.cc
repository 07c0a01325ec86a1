// SPDX-License-Identifier: Apache-2.0
#include "kv/page_layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "base/bf16.h"
#include "base/error.h"
#include "base/test_seed.h"

namespace fastcache::kv {
namespace {

constexpr KvType kAll[] = {KvType::f32, KvType::bf16, KvType::int8};
constexpr int kHeadDims[] = {16, 64, 80, 128, 256};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

class Page {  // one page of its own memory, zeroed
 public:
  Page(KvType type, int head_dim)
      : type_(type), head_dim_(head_dim), payload_(page_payload_bytes(head_dim)), side_(64) {}
  PageRef ref() { return {payload_.data(), page_side_bytes(type_) == 0 ? nullptr : side_.data()}; }
  void write(int row, const std::vector<float>& k, const std::vector<float>& v) {
    write_row(ref(), type_, head_dim_, row, k.data(), v.data());
  }
  std::pair<std::vector<float>, std::vector<float>> read(int row) {
    std::vector<float> k(head_dim_), v(head_dim_);
    read_row(ref(), type_, head_dim_, row, k.data(), v.data());
    return {k, v};
  }
  std::span<const std::byte> payload() const { return payload_; }
  std::span<const float> side() const { return side_; }

 private:
  KvType type_;
  int head_dim_;
  std::vector<std::byte> payload_;
  std::vector<float> side_;
};

std::vector<float> random_row(int n, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> row(n);
  const float size = std::exp2(static_cast<float>(static_cast<int>(random() % 40)) - 20.0f);
  for (float& x : row) x = normal(random) * size;
  return row;
}

bool same_bits(float a, float b) { return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b); }

void expect_stored(KvType type, const std::vector<float>& in, const std::vector<float>& out) {
  float largest = 0;
  for (const float x : in) largest = std::max(largest, std::fabs(x));
  for (size_t i = 0; i < in.size(); ++i) {
    if (type == KvType::f32) {
      ASSERT_TRUE(same_bits(in[i], out[i])) << i;
    }
    if (type == KvType::bf16) {
      ASSERT_TRUE(same_bits(bf16_to_f32(f32_to_bf16(in[i])), out[i])) << i << ": " << in[i];
    }
    // half a step, and the rounding of scale, quotient and product
    if (type == KvType::int8) {
      ASSERT_LE(std::fabs(in[i] - out[i]), largest / 127 * 0.5f * (1 + 1e-4f)) << i;
    }
  }
}

TEST(PageLayout, EveryRowIsReadBackWhateverTheOthersHold) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : kAll)
    for (const int head_dim : kHeadDims) {
      SCOPED_TRACE(std::string(kv_type_name(type)) + " head_dim " + std::to_string(head_dim));
      Page page{type, head_dim};
      const int n = rows_per_page(type);
      std::vector<std::vector<float>> k(n, std::vector<float>(head_dim)), v = k;
      for (int i = 0; i < 3 * n; ++i) {
        const int row = static_cast<int>(random() % n);
        k[row] = random_row(head_dim, random);
        v[row] = random_row(head_dim, random);
        page.write(row, k[row], v[row]);
      }
      for (int row = 0; row < n; ++row) {
        const auto [read_k, read_v] = page.read(row);
        expect_stored(type, k[row], read_k);
        expect_stored(type, v[row], read_v);
      }
    }
}

// The layout as its header draws it: kernels are written against that drawing.
TEST(PageLayout, ElementsLieWhereTheHeaderSays) {
  constexpr int kDim = 16;
  std::mt19937_64 random{test_seed()};
  Page f32{KvType::f32, kDim}, bf16{KvType::bf16, kDim}, int8{KvType::int8, kDim};
  const auto k = random_row(kDim, random), v = random_row(kDim, random);
  f32.write(5, k, v);
  bf16.write(5, k, v);
  int8.write(5, k, v);
  const auto* f32_at = reinterpret_cast<const float*>(f32.payload().data());
  const auto* bf16_at = reinterpret_cast<const bf16_t*>(bf16.payload().data());
  const auto* int8_at = reinterpret_cast<const uint8_t*>(int8.payload().data());
  const auto read = int8.read(5);
  for (int d = 0; d < kDim; ++d) {
    EXPECT_EQ(f32_at[d * 8 + 5], k[d]);
    EXPECT_EQ(f32_at[kDim * 8 + 5 * kDim + d], v[d]);
    EXPECT_EQ(bf16_at[(d / 2) * 32 + 5 * 2 + d % 2], f32_to_bf16(k[d]));
    EXPECT_EQ(bf16_at[kDim * 16 + (5 / 2 * kDim + d) * 2 + 1], f32_to_bf16(v[d]));
    EXPECT_EQ((int8_at[(d / 4) * 128 + 5 * 4 + d % 4] - 128) * int8.side()[5], read.first[d]);
    EXPECT_EQ(static_cast<int8_t>(int8_at[kDim * 32 + (kDim + d) * 4 + 1]) * int8.side()[37], read.second[d]);
  }
}

TEST(PageLayout, Bf16RoundsAsTheConversionOfBase) {
  const std::vector<uint32_t> bits = {0,          0x80000000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff,
                                      0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000,
                                      0xffffffff, 0x7fffffff, 0x00000001, 0x807fffff};
  std::vector<float> row;
  for (const uint32_t b : bits) row.push_back(std::bit_cast<float>(b));
  Page page{KvType::bf16, 16};
  page.write(0, row, row);
  const auto [k, v] = page.read(0);
  expect_stored(KvType::bf16, row, k);
  expect_stored(KvType::bf16, row, v);
  EXPECT_TRUE(std::isnan(k[10]) && std::isnan(v[12]));
}

TEST(PageLayout, WhatIsNotFiniteStaysInItsRow) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : kAll) {
    SCOPED_TRACE(kv_type_name(type));
    Page page{type, 64};
    const auto k = random_row(64, random), v = random_row(64, random);
    page.write(2, k, v);
    page.write(4, k, v);
    std::vector<float> bad(64, 1.0f);
    bad[0] = kNan;
    bad[1] = kInf;
    bad[2] = -kInf;
    page.write(3, bad, bad);
    for (const int row : {2, 4}) {
      expect_stored(type, k, page.read(row).first);
      expect_stored(type, v, page.read(row).second);
    }
    const auto [read_k, read_v] = page.read(3);
    for (int d = 3; d < 64; ++d) EXPECT_EQ(read_k[d], 1.0f);
    if (type == KvType::int8) {  // codes have no NaN: 0, and the row's largest
      EXPECT_EQ(read_v[0], 0.0f);
      EXPECT_EQ(read_v[1], 1.0f);
      EXPECT_EQ(read_v[2], -1.0f);
    } else {
      EXPECT_TRUE(std::isnan(read_v[0]));
      EXPECT_EQ(read_v[1], kInf);
      EXPECT_EQ(read_v[2], -kInf);
    }
  }
}

TEST(PageLayout, Int8AtTheEndsOfTheRange) {
  Page page{KvType::int8, 16};
  for (const float x :
       {0.0f, -0.0f, 1e-45f, 1e-40f, FLT_MIN, 1e-30f, 1.0f, 1e38f, 3.4e38f, FLT_MAX, kInf, kNan}) {
    SCOPED_TRACE(x);
    std::vector<float> row(16, x);
    row[3] = -x;
    page.write(31, row, row);
    for (const float y : page.read(31).first) EXPECT_TRUE(std::isfinite(y));
    const float read = page.read(31).second[0];
    if (x >= 1e-30f && x <= 3.4e38f) {
      EXPECT_NEAR(read / x, 1.0, 1e-6);
    } else if (!(x >= 1e-37f)) {
      EXPECT_EQ(read, 0.0f);
    }
  }
}

TEST(PageLayout, CopiedRowsHaveTheSameBitsAndClearedRowsAreZero) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : kAll)
    for (const int head_dim : kHeadDims) {
      SCOPED_TRACE(std::string(kv_type_name(type)) + " head_dim " + std::to_string(head_dim));
      Page from{type, head_dim}, to{type, head_dim}, untouched{type, head_dim};
      const int n = rows_per_page(type);
      for (int row = 0; row < n; ++row)
        from.write(row, random_row(head_dim, random), random_row(head_dim, random));
      for (int row = 0; row < n; ++row) copy_row(from.ref(), (row + 3) % n, to.ref(), row, type, head_dim);
      for (int row = 0; row < n; ++row) EXPECT_EQ(to.read(row), from.read((row + 3) % n));
      for (int row = 0; row < n; ++row) {  // within one page, as compaction does
        const auto moved = to.read(n - 1);
        copy_row(to.ref(), n - 1, to.ref(), row, type, head_dim);
        EXPECT_EQ(to.read(row), moved);
      }
      for (int row = 0; row < n; ++row) clear_row(to.ref(), type, head_dim, row);
      for (int row = 0; row < n; ++row) EXPECT_EQ(to.read(row), untouched.read(row));
      if (type != KvType::int8) {
        EXPECT_EQ(std::memcmp(to.payload().data(), untouched.payload().data(), to.payload().size()), 0);
      }
    }
}

TEST(PageLayout, NamesAndBytes) {
  for (const KvType type : kAll) EXPECT_EQ(parse_kv_type(kv_type_name(type)), type);
  EXPECT_EQ(page_payload_bytes(64), 4096U);
  try {
    parse_kv_type("int9");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::bad_request);
    EXPECT_STREQ(error.what(), "KV type 'int9' does not exist; there are f32, bf16, int8");
  }
}

// Prefill writes the rows of a page from several threads; rows of bf16 and int8 share words of V.
TEST(PageLayout, DifferentRowsMayBeWrittenAtOnce) {
  constexpr int kHeadDim = 64;
  std::mt19937_64 random(test_seed());
  for (KvType type : kAll) {
    const int n_rows = rows_per_page(type);
    std::vector<std::vector<float>> rows;
    Page expected(type, kHeadDim);
    for (int row = 0; row < n_rows; ++row) {
      rows.push_back(random_row(kHeadDim, random));
      expected.write(row, rows.back(), rows.back());
    }
    for (int round = 0; round < 300; ++round) {
      Page page(type, kHeadDim);
      const auto write_every_other = [&](int first) {
        for (int row = first; row < n_rows; row += 2) page.write(row, rows[row], rows[row]);
      };
      std::thread other(write_every_other, 1);
      write_every_other(0);
      other.join();
      ASSERT_TRUE(std::ranges::equal(page.payload(), expected.payload()))
          << kv_type_name(type) << ", round " << round;
    }
  }
}

}  // namespace
}  // namespace fastcache::kv
