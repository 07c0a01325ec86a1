// SPDX-License-Identifier: Apache-2.0
// No page for a head: the head stays as it was. And the reason for it all: more sequences fit.
#include <gtest/gtest.h>

#include <algorithm>

#include "press/test_press.h"

namespace fastcache::press {
namespace {

using kv::KvType;
using kv::PagePool;
using kv::Sequence;

constexpr kv::CacheShape kShape{.n_layers = 3, .n_kv_heads = 2, .type = KvType::bf16};

struct World {  // a fork, so that every head has shared pages and each commit allocates
  World() : pool(options(&faults)), original(pool, kShape), fork(pool, kShape) {
    EXPECT_TRUE(append_story(original, 100, 1));
    fork = original.fork();
  }
  static kv::PoolOptions options(kv::AllocationFaults* faults) {
    kv::PoolOptions options = kv::test_pool(200);
    options.faults = faults;
    return options;
  }
  void check(bool has_new_rows) const {
    const Sequence* sequences[] = {&original, &fork};
    check_consistency(pool, sequences, {});
    expect_story(original, 1);
    if (!has_new_rows) expect_story(fork, 1);
  }
  kv::AllocationFaults faults;
  PagePool pool;
  Sequence original;
  Sequence fork;
};

// Returns how many allocations the compression has.
int fail_each_allocation(const PressParams& params) {
  const bool has_new_rows = makes_rows(find_press(params.name));
  for (int k = 0;; ++k) {
    World world;
    Tokens expected;  // without a fault
    {
      Sequence unharmed = world.original.fork();
      EXPECT_TRUE(run_press(params, world.pool, unharmed).uncommitted.empty());
      expected = tokens_held(unharmed);
    }
    world.faults.fail_after(k);
    const CompressResult result = run_press(params, world.pool, world.fork);
    const bool fired = !world.faults.armed();
    world.faults.disarm();
    world.check(has_new_rows);
    EXPECT_EQ(result.uncommitted.size(), fired ? 1U : 0U);
    if (!fired) return k;
    const auto [layer, head] = std::pair{result.uncommitted[0].layer, result.uncommitted[0].head};
    const auto& kept = expected[layer * kShape.n_kv_heads + head];
    EXPECT_LT(kept.size(), 100U);
    EXPECT_EQ(world.fork.rows_held(layer, head), 100);
    EXPECT_EQ(world.fork.rows_compressed(layer, head), 0);
    EXPECT_EQ(result.rows_after, count_rows(expected) + 100 - static_cast<int64_t>(kept.size()));
    Tokens now = tokens_held(world.fork);
    now[layer * kShape.n_kv_heads + head] = kept;
    EXPECT_EQ(now, expected);  // the other heads went through
    EXPECT_TRUE(world.fork.keep_rows(layer, head, result.uncommitted[0].rows));  // and later this one does
    EXPECT_EQ(tokens_held(world.fork), expected);
    world.check(has_new_rows);
  }
}

TEST(CompressScarcity, EveryAllocationMayFail) {
  for (const PressRow* row : ratio_presses()) {
    if (!row->removes) continue;
    const int n = fail_each_allocation(with_ratio(std::string{row->name}, 0.6));
    EXPECT_GE(n, row->name == "test_uneven" ? 4 : 6) << row->name;  // one for each head that loses rows
  }
}

TEST(CompressScarcity, NoPageAtAllChangesNothing) {
  PagePool pool{kv::test_pool(6 * 7)};
  Sequence original{pool, kShape};
  ASSERT_TRUE(append_story(original, 112, 1));
  Sequence fork = original.fork();
  ASSERT_EQ(pool.free_pages(), 0U);
  const Tokens before = tokens_held(fork);
  const CompressResult result = run_press(with_ratio("random", 0.5), pool, fork);
  EXPECT_EQ(result.uncommitted.size(), 6U);
  EXPECT_EQ(result.bytes_freed, 0);
  EXPECT_EQ(result.rows_after, result.rows_before);
  EXPECT_EQ(tokens_held(fork), before);
  const Sequence* sequences[] = {&original, &fork};
  check_consistency(pool, sequences, {});
}

// A prompt behind a shared prefix of two pages, in a pool that has nothing left but its reserve. The budget
// leaves one head 130 rows: 2 pages to copy, 1 to give back, more than the reserve may lend.
CompressResult compress_behind_a_prefix(bool reversed) {
  PagePool pool{kv::test_pool(6 * 10 + 2, 2)};
  Sequence prefix{pool, kShape};
  EXPECT_TRUE(append_story(prefix, 32, 1));
  Sequence prompt = prefix.fork();
  EXPECT_TRUE(append_story(prompt, 128, 1));
  EXPECT_EQ(pool.available_pages(), 0U);
  ComputePool threads{1};
  const PressParams params = with_budget("test_uneven", 102);
  const auto press = make_press(params);
  const CompressJob job{press.get(), params.how_much(), &pool, &prompt};
  std::vector<PlannedHead> plan = plan_compression(job, threads);
  EXPECT_EQ(count_rows(tokens_held(prompt)), 6 * 160);  // a plan changes nothing
  EXPECT_EQ(plan.size(), 3U);
  EXPECT_EQ(plan.front().rows.size(), 1U);
  EXPECT_EQ(plan.back().rows.size(), 130U);
  if (reversed) std::reverse(plan.begin(), plan.end());
  CompressResult result = commit_compression(job, std::move(plan));
  EXPECT_GE(pool.free_pages(), pool.reserve_pages());
  const Sequence* sequences[] = {&prefix, &prompt};
  check_consistency(pool, sequences, {});
  expect_story(prompt, 1);
  return result;
}

TEST(CompressScarcity, HeadsThatLoseMostPayForTheOthers) {
  EXPECT_TRUE(compress_behind_a_prefix(false).uncommitted.empty());
  EXPECT_EQ(compress_behind_a_prefix(true).uncommitted.size(), 1U);  // so the order matters
}

// SmolLM2-135M, prompts of 1,000 tokens, each compressed right after its prefill in the same pool.
int admitted(int k, const std::string& name) {
  constexpr kv::CacheShape kSmolLm2{.n_layers = 30, .n_kv_heads = 3, .type = KvType::bf16};
  constexpr int kTokens = 1000, kPagesEach = 90 * 63;
  PagePool pool{{.head_dim = 64, .bytes = kv::page_payload_bytes(64) * kPagesEach * k}};
  std::vector<Sequence> sequences;
  while (true) {
    Sequence sequence{pool, kSmolLm2};
    if (!sequence.append_text(std::vector<int32_t>(kTokens, 1))) break;
    EXPECT_TRUE(run_press(with_ratio(name, 0.8), pool, sequence).uncommitted.empty());
    sequences.push_back(std::move(sequence));
  }
  std::vector<const Sequence*> all;
  for (const Sequence& sequence : sequences) all.push_back(&sequence);
  check_consistency(pool, all, {});
  const int n = static_cast<int>(sequences.size());
  sequences.clear();
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
  return n;
}

TEST(CompressScarcity, FourAndAHalfTimesAsManySequencesFit) {
  constexpr int kUncompressed = 13;
  EXPECT_EQ(admitted(kUncompressed, "none"), kUncompressed);
  const int compressed = admitted(kUncompressed, "random");
  RecordProperty("compressed_sequences", compressed);
  EXPECT_GE(compressed, 4.5 * kUncompressed);
}

}  // namespace
}  // namespace fastcache::press
