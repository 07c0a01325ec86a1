// SPDX-License-Identifier: Apache-2.0
// Every request's tokens are those that it gets alone, whatever else runs: batches, arrival, preemption,
// prefix hits, forks, compression. On a tiny model with random schedules.
#include "engine/step_loop.h"

#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "engine/testing/random_schedule.h"

namespace fastcache::engine {
namespace {

using test_support::LoopModel;
using test_support::run_random_schedule;
using test_support::ScheduleCounts;

TEST(StepLoop, RandomSchedulesGiveTheTokensOfEachRequestAlone) {
  LoopModel one_thread(512, 1), two_threads(512, 2);  // two are slow where the machine is busy
  ScheduleCounts counts;
  for (uint64_t schedule = 0; schedule < 25; ++schedule) {
    const uint64_t seed = test_seed() + schedule;
    ASSERT_EQ(run_random_schedule(schedule < 22 ? one_thread : two_threads, seed, {}, counts), "")
        << "FASTCACHE_TEST_SEED=" << seed;
  }
  EXPECT_GT(counts.preemptions, 0);
  EXPECT_GT(counts.cached_tokens, 0);
  EXPECT_GT(counts.compressions, 0);
  EXPECT_GT(counts.decode_compressions, 0);
  EXPECT_GT(counts.quantizations, 0);
  EXPECT_GT(counts.forks, 0);
}

}  // namespace
}  // namespace fastcache::engine
