// SPDX-License-Identifier: Apache-2.0
#include "kv/quantized_page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/test_seed.h"

namespace fastcache::kv {
namespace {

constexpr KvType kQuantized[] = {KvType::q8, KvType::q4, KvType::q2};
constexpr int kHeadDims[] = {16, 48, 64, 80, 128, 256, 1024};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

struct Page {
  Page(KvType of, int dim) : type(of), head_dim(dim), payload(page_payload_bytes(dim)) {}
  PageRef ref() { return {payload.data(), nullptr}; }
  QuantizedLayout layout() const { return quantized_layout(type, head_dim); }
  void fill(const std::vector<float>& k, const std::vector<float>& v) {
    quantize_page(ref(), type, head_dim, static_cast<int>(k.size()) / head_dim, k.data(), v.data());
  }
  QuantStep step(size_t at) const {
    QuantStep step;
    std::memcpy(&step, payload.data() + at, sizeof(step));
    return step;
  }
  float channel_scale(int d) const { return bf16_to_f32(step(layout().channel_steps_at() + 4 * d).scale); }
  float row_scale(int r) const { return bf16_to_f32(step(layout().row_steps_at() + 4 * r).scale); }
  std::pair<std::vector<float>, std::vector<float>> read(int first, int n) {
    std::vector<float> k(static_cast<size_t>(n) * head_dim), v(k.size());
    read_rows(ref(), type, head_dim, first, n, k.data(), v.data());
    return {k, v};
  }

  KvType type;
  int head_dim;
  std::vector<std::byte> payload;
};

// Channels and rows of very different sizes, some far from 0.
std::vector<float> random_rows(int n, int head_dim, std::mt19937_64& random) {
  std::normal_distribution<float> normal;
  std::vector<float> size(head_dim), middle(head_dim), rows;
  for (int d = 0; d < head_dim; ++d) {
    size[d] = std::exp2(static_cast<float>(static_cast<int>(random() % 30)) - 15.0f);
    middle[d] =
        size[d] * static_cast<float>(random() % 3 == 0 ? static_cast<int>(random() % 3000) - 1500 : 0);
  }
  for (int r = 0; r < n; ++r)
    for (int d = 0; d < head_dim; ++d) rows.push_back(middle[d] + size[d] * normal(random));
  return rows;
}

TEST(QuantizedPage, FitsAndLosesFewBytesToItsScales) {
  for (const KvType type : kQuantized)
    for (const int head_dim : kHeadDims) {
      const QuantizedLayout layout = quantized_layout(type, head_dim);
      EXPECT_LE(2 * layout.values_at(), layout.channel_steps_at()) << kv_type_name(type) << ' ' << head_dim;
      EXPECT_EQ(layout.rows % layout.unit_rows(), 0);
    }
  EXPECT_EQ(rows_per_page(KvType::q8, 64), 28);
  EXPECT_EQ(rows_per_page(KvType::q4, 64), 56);
  EXPECT_EQ(rows_per_page(KvType::q2, 64), 104);
  EXPECT_EQ(rows_per_page(KvType::q2, 128), 112);
}

TEST(QuantizedPage, EveryNumberIsStoredWithinHalfAStep) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : kQuantized)
    for (const int head_dim : kHeadDims) {
      Page page{type, head_dim};
      const int n = 1 + static_cast<int>(random() % page.layout().rows);
      const auto k = random_rows(n, head_dim, random), v = random_rows(n, head_dim, random);
      page.fill(k, v);
      const auto [read_k, read_v] = page.read(0, n);
      for (int r = 0; r < n; ++r)
        for (int d = 0; d < head_dim; ++d) {
          const size_t i = static_cast<size_t>(r) * head_dim + d;
          ASSERT_LE(std::fabs(k[i] - read_k[i]), 0.51f * page.channel_scale(d))
              << kv_type_name(type) << " head_dim " << head_dim << " row " << r << " channel " << d;
          ASSERT_LE(std::fabs(v[i] - read_v[i]), 0.51f * page.row_scale(r))
              << kv_type_name(type) << " head_dim " << head_dim << " row " << r << " channel " << d;
        }
      std::vector<float> one_k(head_dim), one_v(head_dim);
      for (int r = 0; r < n; ++r) {
        read_row(page.ref(), type, head_dim, r, one_k.data(), one_v.data());
        const size_t first = static_cast<size_t>(r) * head_dim;
        ASSERT_TRUE(std::equal(one_k.begin(), one_k.end(), read_k.begin() + first));
        ASSERT_TRUE(std::equal(one_v.begin(), one_v.end(), read_v.begin() + first));
      }
    }
}

// The step is no larger than the group's range asks for: a sixteenth of a step and bf16's rounding up.
TEST(QuantizedPage, StepsFollowTheRangeOfTheirGroup) {
  std::mt19937_64 random{test_seed()};
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (const KvType type : kQuantized) {
    Page page{type, 64};
    const int n = page.layout().rows;
    std::vector<float> k(static_cast<size_t>(n) * 64), v(k.size());
    for (size_t i = 0; i < k.size(); ++i) {
      k[i] = 100.0f * static_cast<float>(i % 64 == 3) + uniform(random);  // one channel far away
      v[i] = uniform(random) * (i / 64 == 5 ? 50.0f : 1.0f);              // one long row
    }
    page.fill(k, v);
    const float least = 2.0f / static_cast<float>((1 << page.layout().bits) - 1) * 1.04f;
    for (int d = 0; d < 64; ++d)
      EXPECT_LE(page.channel_scale(d), d == 3 && type == KvType::q8 ? 0.055f : least) << d;
    for (int r = 0; r < n; ++r) EXPECT_LE(page.row_scale(r), r == 5 ? 50 * least : least) << r;
  }
}

// The layout as its header draws it: kernels are written against that drawing.
TEST(QuantizedPage, CodesLieWhereTheHeaderSays) {
  std::mt19937_64 random{test_seed()};
  for (const KvType type : kQuantized) {
    Page page{type, 32};
    const QuantizedLayout layout = page.layout();
    const auto k = random_rows(layout.rows, 32, random), v = random_rows(layout.rows, 32, random);
    page.fill(k, v);
    const auto [read_k, read_v] = page.read(0, layout.rows);
    const auto value = [&](size_t at, int word_bytes, int i, QuantStep step) {
      uint32_t word = 0;
      std::memcpy(&word, page.payload.data() + at, static_cast<size_t>(word_bytes));
      const uint32_t code =
          word >> (i / 2 * layout.bits + i % 2 * word_bytes * 4) & ((1U << layout.bits) - 1);
      return bf16_to_f32(step.scale) * (static_cast<float>(code) + static_cast<float>(step.zero) / 16);
    };
    for (int r = 0; r < layout.rows; ++r)
      for (int d = 0; d < 32; ++d) {
        const int group = layout.word_channels(), unit = layout.unit_rows(),
                  bytes = layout.value_word_bytes();
        const QuantStep channel = page.step(layout.channel_steps_at() + 4 * d);
        const QuantStep row = page.step(layout.row_steps_at() + 4 * r);
        EXPECT_EQ(value(4 * (d / group * layout.rows + r), 4, d % group, channel), read_k[r * 32 + d]);
        EXPECT_EQ(value(layout.values_at() + bytes * (r / unit * 32 + d), bytes, r % unit, row),
                  read_v[r * 32 + d]);
      }
  }
}

TEST(QuantizedPage, WhatIsNotFiniteDoesNotSpreadAndComesBackFinite) {
  for (const KvType type : kQuantized) {
    Page page{type, 16};
    std::vector<float> k(16 * 4), v;
    for (size_t i = 0; i < k.size(); ++i) k[i] = 1.0f + static_cast<float>(i / 16);  // channels: 1, 2, 3, 4
    v = k;
    k[0] = kInf, k[1] = -kInf, k[2] = kNan, k[3] = 3e38f;
    v[16] = kInf, v[17] = -kInf, v[18] = kNan, v[19] = 7.0f;
    for (int r = 0; r < 4; ++r) k[16 * r + 4] = kNan, k[16 * r + 5] = kInf;
    for (int d = 0; d < 16; ++d) v[32 + d] = d % 2 == 0 ? kNan : -kInf;
    page.fill(k, v);
    const auto [read_k, read_v] = page.read(0, 4);
    for (const float x : read_k) ASSERT_TRUE(std::isfinite(x));
    for (const float x : read_v) ASSERT_TRUE(std::isfinite(x));
    const float half = 0.51f * page.channel_scale(0);
    EXPECT_NEAR(read_k[0], 4.0f, half);  // the others are 2, 3 and 4
    EXPECT_NEAR(read_k[1], 2.0f, half);
    EXPECT_NEAR(read_k[2], 2.0f, half);
    EXPECT_NEAR(read_k[3], 4.0f, half);
    EXPECT_EQ(read_k[4], 0.0f);
    EXPECT_EQ(read_k[5], 0.0f);
    EXPECT_NEAR(read_v[16], 7.0f, 0.51f * page.row_scale(1));
    EXPECT_NEAR(read_v[17], 2.0f, 0.51f * page.row_scale(1));
    EXPECT_EQ(read_v[32], 0.0f);
    EXPECT_EQ(read_v[33], 0.0f);
  }
}

TEST(QuantizedPage, HugeTinyAndConstantGroups) {
  for (const KvType type : kQuantized) {
    Page page{type, 16};
    const int n = page.layout().rows;
    std::vector<float> k(static_cast<size_t>(n) * 16);
    for (size_t i = 0; i < k.size(); ++i) {
      const int d = static_cast<int>(i % 16), r = static_cast<int>(i / 16);
      k[i] = d == 0   ? (r % 2 == 0 ? 1e38f : -1e38f)
             : d == 1 ? 1e-44f
             : d == 2 ? -123.456f
             : d == 3 ? -1e38f
                      : 0.0f;
    }
    page.fill(k, k);
    const auto [read_k, read_v] = page.read(0, n);
    for (int r = 0; r < n; ++r) {
      EXPECT_NEAR(read_k[16 * r], k[16 * r], 0.51f * page.channel_scale(0));
      EXPECT_EQ(read_k[16 * r + 1], 0.0f);
      EXPECT_NEAR(read_k[16 * r + 2], -123.456f, 123.456f / 2000);
      EXPECT_NEAR(read_k[16 * r + 3], -1e38f, 1e35f);
      EXPECT_EQ(read_k[16 * r + 4], 0.0f);
      for (int d = 0; d < 16; ++d) ASSERT_TRUE(std::isfinite(read_v[16 * r + d]));
    }
  }
}

TEST(QuantizedPage, ZeroedPagesReadAsZeros) {
  for (const KvType type : kQuantized) {
    Page page{type, 64};
    const auto [k, v] = page.read(0, page.layout().rows);
    EXPECT_TRUE(std::all_of(k.begin(), k.end(), [](float x) { return x == 0.0f; }));
    EXPECT_TRUE(std::all_of(v.begin(), v.end(), [](float x) { return x == 0.0f; }));
  }
}

}  // namespace
}  // namespace fastcache::kv
