// SPDX-License-Identifier: Apache-2.0
// step_loop_test.cc with thousands of schedules, and of more kinds.
#include <gtest/gtest.h>

#include "base/test_seed.h"
#include "engine/testing/random_schedule.h"

namespace fastcache::engine {
namespace {

using test_support::LoopModel;
using test_support::run_random_schedule;
using test_support::ScheduleCounts;
using test_support::ScheduleSizes;

void run_schedules(LoopModel& model, uint64_t n_schedules, const ScheduleSizes& sizes) {
  ScheduleCounts counts;
  for (uint64_t schedule = 0; schedule < n_schedules; ++schedule) {
    const uint64_t seed = test_seed() + schedule;
    ASSERT_EQ(run_random_schedule(model, seed, sizes, counts), "") << "FASTCACHE_TEST_SEED=" << seed;
  }
  EXPECT_GT(counts.preemptions, 0);
  EXPECT_GT(counts.cached_tokens, 0);
  EXPECT_GT(counts.compressions, 0);
  EXPECT_GT(counts.decode_compressions, 0);
  EXPECT_GT(counts.quantizations, 0);
  EXPECT_GT(counts.forks, 0);
  EXPECT_GT(counts.cancelled, 0);
  EXPECT_EQ(counts.deadlines > 0, sizes.deadlines);
}

TEST(StepLoopSlow, ThousandsOfSchedules) {
  LoopModel model(512, 1);
  run_schedules(model, 3'000, {});
}

TEST(StepLoopSlow, TwoThreads) {
  LoopModel model(512, 2);
  run_schedules(model, 150, {});
}

TEST(StepLoopSlow, ManyAnswersAndDeadlines) {
  LoopModel model(512, 1);
  run_schedules(model, 500, {.most_answers = 7, .least_pool_tokens = 320, .deadlines = true});
}

TEST(StepLoopSlow, LongPrompts) {
  LoopModel model(2'048, 1);
  run_schedules(model, 100,
                {.most_own_tokens = 900,
                 .most_new_tokens = 100,
                 .least_pool_tokens = 1'100,
                 .most_pool_tokens = 3'000});
}

TEST(StepLoopSlow, F32Rows) {
  LoopModel model(512, 1);
  run_schedules(model, 400, {.kv_type = kv::KvType::f32, .least_pool_tokens = 200});
}

TEST(StepLoopSlow, Int8Rows) {
  LoopModel model(512, 1);
  run_schedules(model, 400, {.kv_type = kv::KvType::int8, .least_pool_tokens = 320});
}

}  // namespace
}  // namespace fastcache::engine
