// SPDX-License-Identifier: Apache-2.0
// Every operation, with every one of its allocations failing in turn: the state must be as before, and the
// operation must work when it is tried again.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "kv/sequence.h"
#include "kv/test_rows.h"

namespace fastcache::kv {
namespace {

constexpr CacheShape kShape{.n_layers = 2, .n_kv_heads = 2, .type = KvType::bf16};

struct World {  // a sequence with a compressed head, a fork of it, and a cached block
  World() : pool(options(&faults)), sequence(pool, kShape) {
    EXPECT_TRUE(append_story(sequence, 40, 1));
    block.emplace(sequence.share_block(0));
    EXPECT_TRUE(sequence.keep_rows(0, 1, std::vector<int32_t>{0, 1, 2, 17, 18, 30, 39}));
    fork.emplace(sequence.fork());
  }
  static PoolOptions options(AllocationFaults* faults) {
    PoolOptions options = test_pool(100, 4, {KvType::bf16, KvType::int8});
    options.faults = faults;
    return options;
  }
  void check() {
    const Sequence* sequences[] = {&sequence, &*fork};
    const Block* blocks[] = {&*block};
    check_consistency(pool, sequences, blocks);
    expect_story(sequence, 1);
    expect_story(*fork, 1);
  }
  AllocationFaults faults;
  PagePool pool;
  Sequence sequence;
  std::optional<Sequence> fork;
  std::optional<Block> block;
};

struct Snapshot {  // what may not change
  explicit Snapshot(const World& world)
      : free(world.pool.free_pages()), tokens(world.sequence.token_count()) {
    for (int pair = 0; pair < 4; ++pair) {
      const HeadTable& table = world.sequence.table(pair / 2, pair % 2);
      for (const TableEntry& entry : table.entries) entries.push_back({entry.page, entry.rows_used});
      rows.push_back(table.row_tokens);
    }
  }
  bool operator==(const Snapshot&) const = default;
  size_t free;
  int tokens;
  std::vector<std::pair<PageId, int>> entries;
  std::vector<std::vector<int32_t>> rows;
};

// Returns how many allocations the operation has.
int fail_each_allocation(const std::function<bool(World&)>& operation) {
  for (int k = 0;; ++k) {
    World world;
    const Snapshot before{world};
    world.faults.fail_after(k);
    const bool done = operation(world);
    const bool fired = !world.faults.armed();
    world.faults.disarm();
    EXPECT_EQ(done, !fired);
    world.check();
    if (!fired) return k;
    EXPECT_EQ(Snapshot{world}, before) << "allocation " << k;
    EXPECT_TRUE(operation(world));
    world.check();
  }
}

TEST(Faults, AppendChangesNothing) {
  for (const int n : {1, 8, 9, 100})
    EXPECT_EQ(fail_each_allocation([n](World& w) { return append_story(w.sequence, n, 1); }), 1) << n;
}

TEST(Faults, KeepingRowsOfSharedPagesChangesNothing) {
  const std::vector<int32_t> rows{1, 3, 5};
  for (int pair = 0; pair < 4; ++pair)
    EXPECT_EQ(fail_each_allocation([&](World& w) { return w.sequence.keep_rows(pair / 2, pair % 2, rows); }),
              1);
}

TEST(Faults, KeepingRowsOfOwnPagesAllocatesNothing) {
  EXPECT_EQ(fail_each_allocation([](World& w) {
              w.fork->release();
              return w.sequence.keep_rows(0, 1, std::vector<int32_t>{1, 3, 5});
            }),
            0);
}

TEST(Faults, ReplacingRowsChangesNothing) {
  const std::vector<float> ones(64 * kTestHeadDim, 1.0f);
  const std::vector<int32_t> tokens{0, 7, 9, 20};
  EXPECT_EQ(fail_each_allocation([&](World& w) {
              const NewRows rows{.type = KvType::int8, .tokens = tokens, .k = ones.data(), .v = ones.data()};
              Sequence other = w.sequence.fork();  // its story is not the world's
              return other.replace_rows(1, 1, rows);
            }),
            1);
}

TEST(Faults, TheRestAllocatesNothing) {
  EXPECT_EQ(fail_each_allocation([](World& w) {
              Sequence other = w.sequence.fork();
              other.truncate_to(20);
              other.free_before(1, 10);
              const Block again = w.block->share();
              Sequence attached{w.pool, kShape};
              std::vector<Token> tokens;
              for (int t = 0; t < 16; ++t) tokens.push_back(text_token(1, t));
              const Block* blocks[] = {&again};
              attached.attach(blocks, tokens);
              return true;
            }),
            0);
}

}  // namespace
}  // namespace fastcache::kv
