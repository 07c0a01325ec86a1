// SPDX-License-Identifier: Apache-2.0
// The press `quantized`: which rows change their format, what it frees, and what it refuses.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/press_string.h"
#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;

constexpr kv::CacheShape kShape{.n_layers = 3, .n_kv_heads = 2, .type = KvType::bf16};

CompressResult run(const std::string& text, PagePool& pool, Sequence& sequence, bool new_rows_only = false) {
  return run_press(parse_press(text), pool, sequence, new_rows_only);
}

// How many rows of a head are of the type.
int rows_of(const Sequence& sequence, int layer, int head, KvType type) {
  int n = 0;
  for (const kv::TableEntry& entry : sequence.table(layer, head).entries)
    n += entry.type == type ? entry.rows_used : 0;
  return n;
}

size_t pages_of(const Sequence& sequence, int layer, int head) {
  return sequence.table(layer, head).entries.size();
}

TEST(Quantized, LeavesAtLeastTheResidualAndWholePagesOfIt) {
  for (const auto& [n, residual, expected] : {std::tuple{300, 128, 160},
                                              {300, 0, 288},
                                              {304, 0, 304},
                                              {300, 300, 0},
                                              {300, 285, 0},
                                              {300, 284, 0},  // 16 rows would take a page again
                                              {15, 0, 0},
                                              {1, 0, 0}}) {
    PagePool pool{kv::test_pool(200)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, n, 1));
    const size_t free = pool.free_pages();
    const CompressResult result =
        run("quantized(bits=4, residual=" + std::to_string(residual) + ")", pool, sequence);
    EXPECT_TRUE(result.uncommitted.empty());
    EXPECT_EQ(result.rows_after, 6 * n);
    EXPECT_EQ(result.bytes_freed, static_cast<int64_t>((pool.free_pages() - free) * pool.page_bytes()));
    for (int layer = 0; layer < 3; ++layer)
      for (int head = 0; head < 2; ++head) {
        EXPECT_EQ(rows_of(sequence, layer, head, KvType::q4), expected) << n << ' ' << residual;
        EXPECT_EQ(rows_of(sequence, layer, head, KvType::bf16), n - expected);
        EXPECT_EQ(pages_of(sequence, layer, head),
                  static_cast<size_t>((expected + 47) / 48 + (n - expected + 15) / 16));
      }
    check_consistency(pool, {{&sequence}}, {});
  }
}

TEST(Quantized, FewerBitsFreeMorePages) {
  size_t held[3] = {};
  const int bits[] = {8, 4, 2};
  for (int i = 0; i < 3; ++i) {
    PagePool pool{kv::test_pool(200)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 480, 1));
    run("quantized(residual=0, bits=" + std::to_string(bits[i]) + ")", pool, sequence);
    held[i] = sequence.bytes().exclusive / pool.page_bytes() / 6;
  }
  EXPECT_EQ(held[0], 20U);  // of 30: 24 rows each
  EXPECT_EQ(held[1], 10U);  // 48
  EXPECT_EQ(held[2], 6U);   // 80
}

TEST(Quantized, LayersHaveBitsOfTheirOwn) {
  PagePool pool{kv::test_pool(200)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 160, 1));
  run("quantized(residual=0, layer_bits=[2, 16, 8])", pool, sequence);
  for (int head = 0; head < 2; ++head) {
    EXPECT_EQ(rows_of(sequence, 0, head, KvType::q2), 160);
    EXPECT_EQ(rows_of(sequence, 1, head, KvType::bf16), 160);
    EXPECT_EQ(rows_of(sequence, 2, head, KvType::q8), 160);
  }
  EXPECT_TRUE(sequence.table(1, 0).contiguous);
}

TEST(Quantized, ChangesTheFormatOfWhatOtherPressesKeep) {
  for (const char* text : {"composed(streaming_llm(budget=100), quantized(bits=4, residual=20))",
                           "composed(quantized(bits=4, residual=20), streaming_llm(budget=100))"}) {
    PagePool pool{kv::test_pool(200)};
    Sequence sequence{pool, kShape};
    ASSERT_TRUE(append_story(sequence, 300, 2));
    const CompressResult result = run(text, pool, sequence);
    EXPECT_EQ(result.rows_after, 600);
    for (int pair = 0; pair < 6; ++pair) {
      EXPECT_EQ(rows_of(sequence, pair / 2, pair % 2, KvType::q4), 80);
      EXPECT_EQ(pages_of(sequence, pair / 2, pair % 2), 4U);
      for (int row = 0; row < 100; ++row) {
        const int token = sequence.row_token(pair / 2, pair % 2, row);
        EXPECT_EQ(token, row < 4 ? row : 200 + row);
        const kv::TestRow stored = stored_row(sequence.row(pair / 2, pair % 2, row));
        const kv::TestRow expected = kv::test_row((2U << 16) + token, pair);
        for (size_t i = 0; i < stored.size(); ++i)
          ASSERT_NEAR(stored[i], expected[i], row < 80 ? 254.0 / 15 * 0.56 : 0.0) << text << " row " << row;
      }
    }
  }
}

TEST(Quantized, TheNextTurnGoesOnBehindThem) {
  PagePool pool{kv::test_pool(300)};
  Sequence sequence{pool, kShape};
  ASSERT_TRUE(append_story(sequence, 200, 3));
  run("quantized(bits=4, residual=32)", pool, sequence);  // 160 rows: 4 pages
  std::vector<kv::TestRow> first;
  for (int row = 0; row < 160; ++row) first.push_back(stored_row(sequence.row(2, 1, row)));
  ASSERT_TRUE(append_story(sequence, 100, 3));
  run("quantized(bits=4, residual=32)", pool, sequence, true);
  EXPECT_EQ(rows_of(sequence, 2, 1, KvType::q4), 256);
  EXPECT_EQ(rows_of(sequence, 2, 1, KvType::bf16), 44);
  for (int row = 0; row < 160; ++row) EXPECT_EQ(stored_row(sequence.row(2, 1, row)), first[row]);
  EXPECT_EQ(run("quantized(bits=4, residual=32)", pool, sequence, true).bytes_freed, 0);
  check_consistency(pool, {{&sequence}}, {});
}

// A fork, so that every page must be new: each allocation fails once, and that head stays.
TEST(Quantized, AHeadWithoutAPageStaysAsItWas) {
  for (int k = 0; k < 6; ++k) {
    kv::AllocationFaults faults;
    kv::PoolOptions options = kv::test_pool(200);
    options.faults = &faults;
    PagePool pool{options};
    Sequence original{pool, kShape};
    ASSERT_TRUE(append_story(original, 160, 4));
    Sequence fork = original.fork();
    faults.fail_after(k);
    const CompressResult result = run("quantized(bits=2, residual=0)", pool, fork);
    ASSERT_EQ(result.uncommitted.size(), 1U);
    const PlannedHead& left = result.uncommitted[0];
    EXPECT_EQ(rows_of(fork, left.layer, left.head, KvType::bf16), 160);
    EXPECT_EQ(fork.rows_compressed(left.layer, left.head), 0);
    int n_quantized = 0;
    for (int pair = 0; pair < 6; ++pair) n_quantized += rows_of(fork, pair / 2, pair % 2, KvType::q2);
    EXPECT_EQ(n_quantized, 5 * 160);
    ComputePool threads{1};
    const auto press = make_press(parse_press("quantized(bits=2, residual=0)"));
    const CompressJob job{.press = press.get(), .budget = {}, .pool = &pool, .sequence = &fork};
    EXPECT_TRUE(commit_compression(job, result.uncommitted).uncommitted.empty());
    EXPECT_EQ(rows_of(fork, left.layer, left.head, KvType::q2), 160);
    expect_story(original, 4);
    check_consistency(pool, {{&original, &fork}}, {});
  }
}

TEST(Quantized, WhatItRefuses) {
  const auto refused = [](const std::string& text, const std::string& part) {
    try {
      make_press(parse_press(text));
      ADD_FAILURE() << text << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
      EXPECT_NE(std::string{error.what()}.find(part), std::string::npos) << error.what();
    }
  };
  refused("quantized(bits=3)", "bits = 3 must be 2, 4 or 8");
  refused("quantized(bits=16)", "from 2 to 8");
  refused("quantized(layer_bits=[4, 5])", "must be 2, 4, 8, or 16");
  refused("quantized(layer_bits=[])", "0 values");
  refused("quantized(residual=-1)", "residual = -1");
  refused("quantized(ratio=0.5)", "removes nothing");
  refused("adakv(quantized, ratio=0.5)", "cannot wrap 'quantized'");
  const auto needs = [](const std::string& text) { return make_press(parse_press(text))->needs(); };
  EXPECT_EQ(needs("quantized").page_bits, 4);
  EXPECT_EQ(needs("quantized(layer_bits=[2, 8, 16])").page_bits, 8);
  EXPECT_EQ(needs("quantized(layer_bits=[2, 8, 16])").n_layers, 3);
  EXPECT_EQ(needs("composed(knorm(ratio=0.5), quantized(bits=8))").page_bits, 8);
}

TEST(Quantized, IdentityHasAllThatMatters) {
  const auto identity = [](const std::string& text) { return press_identity(parse_press(text)); };
  EXPECT_EQ(identity("quantized"), "quantized(bits=4, residual=128)");
  EXPECT_EQ(identity("quantized(layer_bits=[2, 4])"), "quantized(bits=4, residual=128, layer_bits=[2, 4])");
}

}  // namespace
}  // namespace fastcache::press
