// SPDX-License-Identifier: Apache-2.0
#include "base/compute_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace fastcache {

TEST(ComputePool, RunCallsEachThreadOnce) {
  for (int n_threads : {1, 2, 5}) {
    ComputePool pool(n_threads);
    EXPECT_EQ(pool.n_threads(), n_threads);
    std::vector<std::atomic<int>> calls(static_cast<size_t>(n_threads));
    pool.run([&](const WorkRange& range) {
      EXPECT_EQ(range.n_threads, n_threads);
      ++calls[static_cast<size_t>(range.thread)];
    });
    for (const auto& count : calls) EXPECT_EQ(count, 1);
  }
}

TEST(ComputePool, StartsItsThreadsWithTheFirstWork) {
  const auto n_threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                         std::filesystem::directory_iterator());
  };
  const auto before = n_threads();
  ComputePool pool(3);
  EXPECT_EQ(n_threads(), before);
  pool.run([](const WorkRange&) {});
  EXPECT_EQ(n_threads(), before + 2);
}

TEST(ComputePool, ParallelForDoesEachTaskOnce) {
  ComputePool pool(3);
  for (int n : {0, 1, 2, 1000}) {
    std::vector<std::atomic<int>> done(static_cast<size_t>(n));
    pool.parallel_for(n, [&](int i) { ++done[static_cast<size_t>(i)]; });
    for (const auto& count : done) EXPECT_EQ(count, 1);
  }
}

TEST(ComputePool, WakesUpAgainAfterSleeping) {
  ComputePool pool(2);
  std::atomic<int> sum{0};
  for (int round = 0; round < 200; ++round) pool.parallel_for(10, [&](int i) { sum += i; });
  EXPECT_EQ(sum, 200 * 45);
}

TEST(ComputePool, RefusesAbsurdThreadCounts) {
  for (int n_threads : {-1, 100000}) {
    try {
      ComputePool pool(n_threads);
      FAIL() << n_threads;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::bad_request);
    }
  }
}

}  // namespace fastcache
