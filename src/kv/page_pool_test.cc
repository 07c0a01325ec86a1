// SPDX-License-Identifier: Apache-2.0
#include "kv/page_pool.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/error.h"

namespace fastcache::kv {
namespace {

PoolOptions pages_of_16(int n_pages, int reserve = 0, std::vector<KvType> types = {KvType::bf16}) {
  size_t side = 0;
  for (const KvType type : types) side = std::max(side, page_side_bytes(type));
  return {
      .head_dim = 16, .bytes = (1024 + side) * n_pages, .types = std::move(types), .reserve_pages = reserve};
}

std::vector<PageId> take(PagePool& pool, int n, PageState state = PageState::prefill) {
  std::vector<PageId> pages(n);
  EXPECT_TRUE(pool.try_allocate(pages, state));
  return pages;
}

void give_back(PagePool& pool, std::span<const PageId> pages) {
  for (const PageId page : pages) pool.release(page, PageOwner::sequence);
}

// Share of the payload that the system has backed with memory.
double resident_share(const PagePool& pool) {
  const size_t n = pool.n_pages() * pool.memory().payload_bytes / 4096;
  std::vector<unsigned char> resident(n);
  EXPECT_EQ(mincore(pool.memory().payload, n * 4096, resident.data()), 0);
  return static_cast<double>(std::count_if(resident.begin(), resident.end(), [](auto r) { return r & 1; })) /
         static_cast<double>(n);
}

TEST(PagePool, TouchedMemoryIsThereAtOnceAndZero) {
  PoolOptions options{.head_dim = 64, .bytes = size_t{8} << 20};
  EXPECT_LT(resident_share(PagePool{options}), 0.5);
  options.touch = true;
  const PagePool pool{options};
  EXPECT_EQ(resident_share(pool), 1.0);
  EXPECT_EQ(pool.free_pages(), pool.n_pages());
  const std::byte* payload = pool.memory().payload;
  const size_t bytes = pool.n_pages() * pool.memory().payload_bytes;
  EXPECT_TRUE(std::all_of(payload, payload + bytes, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(PagePool, AllocatesAllOrNothing) {
  PagePool pool{pages_of_16(10)};
  const auto first = take(pool, 7);
  std::vector<PageId> more(4);
  EXPECT_FALSE(pool.try_allocate(more, PageState::decode));
  EXPECT_EQ(pool.free_pages(), 3U);
  const auto rest = take(pool, 3);
  give_back(pool, first);
  give_back(pool, rest);
  EXPECT_EQ(pool.free_pages(), 10U);
  pool.check(std::vector<PagePool::Owners>(10));
}

TEST(PagePool, PagesAreZeroWheneverTheyAreHandedOut) {
  PagePool pool{pages_of_16(3, 0, {KvType::bf16, KvType::int8})};
  for (int round = 0; round < 3; ++round) {
    const auto pages = take(pool, 3);
    for (const PageId id : pages) {
      const PageRef page = pool.page(id);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(page.payload) % 64, 0U);
      for (size_t i = 0; i < 1024; ++i) ASSERT_EQ(page.payload[i], std::byte{0});
      for (size_t i = 0; i < 64; ++i) ASSERT_EQ(page.side[i], 0.0f);
      std::memset(page.payload, 0xff, 1024);
      std::memset(page.side, 0xff, 256);
    }
    give_back(pool, pages);
  }
}

TEST(PagePool, TheReserveIsLentOnlyToCommitsThatReturnIt) {
  PagePool pool{pages_of_16(10, 2)};
  EXPECT_EQ(pool.available_pages(), 8U);
  const auto held = take(pool, 8);
  std::vector<PageId> one(1), two(2), three(3);
  EXPECT_FALSE(pool.try_allocate(one, PageState::decode));
  EXPECT_FALSE(pool.try_allocate_for_commit(three, 3, PageState::compressed));
  EXPECT_FALSE(pool.try_allocate_for_commit(two, 1, PageState::compressed));
  EXPECT_EQ(pool.free_pages(), 2U);
  EXPECT_TRUE(pool.try_allocate_for_commit(two, 2, PageState::compressed));
  give_back(pool, two);
  give_back(pool, held);
}

TEST(PagePool, BytesAreCountedByOwnersAndState) {
  PagePool pool{pages_of_16(8, 0, {KvType::int8})};
  const size_t page = 1024 + 256;
  EXPECT_EQ(pool.page_bytes(), page);
  const auto pages = take(pool, 4, PageState::prefill);
  pool.set_state(pages[0], PageState::decode);
  pool.set_state(pages[1], PageState::compressed);
  pool.add_owner(pages[2], PageOwner::sequence);
  pool.add_owner(pages[3], PageOwner::block);
  PoolUsage usage = pool.usage();
  EXPECT_EQ(usage.total, 8 * page);
  EXPECT_EQ(usage.free, 4 * page);
  EXPECT_EQ(usage.prefill, 0U);
  EXPECT_EQ(usage.decode, page);
  EXPECT_EQ(usage.compressed, page);
  EXPECT_EQ(usage.shared, 2 * page);
  EXPECT_EQ(usage.prefix_cached, 0U);
  give_back(pool, pages);
  usage = pool.usage();
  EXPECT_EQ(usage.prefill, page);  // the second owner of pages[2] has it alone now
  EXPECT_EQ(usage.prefix_cached, page);
  EXPECT_EQ(usage.free, 6 * page);
  pool.release(pages[2], PageOwner::sequence);
  pool.release(pages[3], PageOwner::block);
  EXPECT_EQ(pool.usage().free, pool.usage().total);
}

TEST(PagePool, ALargePoolStartsAtOnceAndTakesNoMemory) {
  const auto start = std::chrono::steady_clock::now();
  PagePool pool{{.head_dim = 64, .bytes = size_t{64} << 30}};
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 1.0);  // 16 Mi pages; touching the memory would take tens of seconds
  EXPECT_EQ(pool.n_pages(), size_t{16} << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(pool.memory().payload) % (2 << 20), 0U);
}

TEST(PagePool, CheckFindsWrongOwners) {
  PagePool pool{pages_of_16(4)};
  const auto pages = take(pool, 2);
  std::vector<PagePool::Owners> owners(4);
  owners[pages[0]].sequences = 1;
  EXPECT_THROW(pool.check(owners), Error);  // the second page leaked
  owners[pages[1]].sequences = 1;
  pool.check(owners);
  owners[pages[1]].sequences = 2;
  EXPECT_THROW(pool.check(owners), Error);
  owners[pages[1]] = {.sequences = 0, .blocks = 1};
  EXPECT_THROW(pool.check(owners), Error);
  give_back(pool, pages);
}

TEST(PagePool, ChosenAllocationsFail) {
  AllocationFaults faults;
  PoolOptions options = pages_of_16(4);
  options.faults = &faults;
  PagePool pool{options};
  std::vector<PageId> page(1);
  faults.fail_after(1);
  EXPECT_TRUE(pool.try_allocate(page, PageState::prefill));
  give_back(pool, page);
  EXPECT_TRUE(pool.try_allocate({}, PageState::prefill));  // nothing wanted: not an allocation
  EXPECT_FALSE(pool.try_allocate(page, PageState::prefill));
  EXPECT_TRUE(pool.try_allocate(page, PageState::prefill));
  give_back(pool, page);
}

TEST(PagePool, RefusesWhatCannotWork) {
  EXPECT_THROW(PagePool({.head_dim = 60, .bytes = 1 << 20}), Error);
  EXPECT_THROW(PagePool({.head_dim = 64, .bytes = 1 << 20, .types = {}}), Error);
  EXPECT_THROW(PagePool({.head_dim = 64, .bytes = 1 << 20, .reserve_pages = -1}), Error);
  try {
    PagePool pool{{.head_dim = 64, .bytes = 8192, .reserve_pages = 2}};
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::pool_too_small);
  }
}

}  // namespace
}  // namespace fastcache::kv
