// SPDX-License-Identifier: Apache-2.0
// The scheduler's decisions one by one, in situations small enough to work out by hand: one head, pages of
// four rows unless said otherwise.
#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "engine/testing/plan_check.h"
#include "engine/testing/scheduler_simulator.h"

namespace fastcache::engine {

bool operator==(const BatchItem& a, const BatchItem& b) { return a.id == b.id && a.n_tokens == b.n_tokens; }

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Holds n full pages: the next row takes one more.
RunningRequest decoding(RequestId id, double arrival_ms, int64_t pages, int priority = 0) {
  return {.id = id,
          .priority = priority,
          .arrival_ms = arrival_ms,
          .stage = Stage::decode,
          .kv_rows = static_cast<int>(4 * pages),
          .need = empty_page_need(1, 4),
          .pages_held = pages,
          .pages_exclusive = pages};
}

WaitingRequest prompt(RequestId id, double arrival_ms, int tokens, int priority = 0) {
  return {.id = id,
          .priority = priority,
          .arrival_ms = arrival_ms,
          .prompt_tokens = tokens,
          .need = empty_page_need(1, 4),
          .pages_alone = (tokens + 3) / 4};
}

struct Situation {
  SchedulerConfig config{.ageing_ms = 1000, .lookahead_tokens = 4};
  SchedulerInput input{.pool = {.total = 20, .available = 20, .evictable = 0}, .token_budget = 16};
  std::vector<WaitingRequest> waiting;
  std::vector<RunningRequest> running;

  Plan plan() {
    input.waiting = waiting;
    input.running = running;
    const Plan plan = Scheduler(config, make_policy("fcfs")).plan(input);
    EXPECT_EQ(testing::broken_promise(input, plan, config), "");
    return plan;
  }
};

TEST(Scheduler, DecodeRowsAndAPromptShareAStep) {
  Situation s;
  s.input.pool.available = 16;
  s.running = {decoding(1, 0, 2), decoding(2, 1, 2)};
  s.waiting = {prompt(3, 2, 30)};
  const Plan plan = s.plan();
  EXPECT_THAT(plan.admit, ElementsAre(3));
  EXPECT_THAT(plan.batch, ElementsAre(BatchItem{1, 1}, BatchItem{2, 1}, BatchItem{3, 14}));
  EXPECT_EQ(plan.drop_pages, 0);
  EXPECT_EQ(plan.shape.decode_rows, 2);
  EXPECT_EQ(plan.shape.prefill_tokens, 14);
}

TEST(Scheduler, FirstDropsCacheThenPreemptsTheYoungest) {
  Situation s;
  s.input.pool = {.total = 20, .available = 0, .evictable = 2};
  s.running = {decoding(2, 1, 6), decoding(3, 2, 6), decoding(1, 0, 6)};
  Plan plan = s.plan();
  EXPECT_EQ(plan.drop_pages, 2);
  EXPECT_THAT(plan.batch, ElementsAre(BatchItem{1, 1}, BatchItem{2, 1})) << "3 keeps its pages and waits";
  EXPECT_THAT(plan.preempt, IsEmpty());

  s.input.pool.evictable = 1;
  plan = s.plan();
  EXPECT_THAT(plan.preempt, ElementsAre(3));
  EXPECT_EQ(plan.drop_pages, 0) << "what 3 gives back is enough";
  EXPECT_THAT(plan.batch, ElementsAre(BatchItem{1, 1}, BatchItem{2, 1}));
}

TEST(Scheduler, AdmissionLeavesRoomForTheNextTokens) {
  Situation s;
  s.running = {decoding(1, 0, 8)};
  s.waiting = {prompt(2, 1, 16)};      // 4 pages, and 1 for its own next 4 tokens
  s.input.pool.available = 4 + 1 + 2;  // 1 decodes its next 5 tokens
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
  s.input.pool.available -= 1;
  EXPECT_THAT(s.plan().admit, IsEmpty());
  s.running.clear();
  s.input.pool.available = 4;
  EXPECT_THAT(s.plan().admit, ElementsAre(2)) << "alone it needs its prompt only";
}

// Compression during decoding bounds what an answer takes: that much is kept for it, no less and no more.
TEST(Scheduler, AdmissionLeavesRoomForAllThatABoundedAnswerMayTake) {
  Situation s;
  s.running = {decoding(1, 0, 8)};
  s.waiting = {prompt(2, 1, 4)};
  s.running[0].pages_to_come = 9;
  s.waiting[0].pages_to_come = 7;
  s.input.pool.available = 9 + 7;
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
  s.input.pool.available -= 1;
  EXPECT_THAT(s.plan().admit, IsEmpty());
  s.running[0].stage = Stage::compress;
  EXPECT_THAT(s.plan().admit, IsEmpty());
  s.running[0].pages_to_come = 0;  // it has them all
  s.input.pool.available = 7;
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
  s.waiting.push_back(prompt(3, 2, 4));
  s.waiting[1].pages_to_come = 7;
  s.input.pool.available = 14;
  EXPECT_THAT(s.plan().admit, ElementsAre(2, 3));
  s.input.pool.available = 13;
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
}

TEST(Scheduler, PinnedPrefixPagesCannotBeDropped) {
  Situation s;
  s.running = {decoding(1, 0, 8)};
  s.waiting = {prompt(2, 1, 4)};  // 1 page, 1 for its next tokens; 2 for the running one
  s.waiting[0].pages_pinned = 3;
  s.input.pool.available = 0;
  s.input.pool.evictable = 6;
  EXPECT_THAT(s.plan().admit, IsEmpty());
  s.input.pool.evictable = 7;
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
}

TEST(Scheduler, NothingPassesALargeHead) {
  Situation s;
  s.running = {decoding(1, 0, 8)};
  s.input.pool.available = 8;
  s.waiting = {prompt(2, 1, 60), prompt(3, 2, 1)};
  EXPECT_THAT(s.plan().admit, IsEmpty());
  s.waiting[0].deadline_ms = 0;
  const Plan plan = s.plan();
  EXPECT_THAT(plan.expire, ElementsAre(2));
  EXPECT_THAT(plan.admit, ElementsAre(3));
}

TEST(Scheduler, PriorityIsWorthAgeingTime) {
  Situation s;
  s.input.max_running = 1;
  s.waiting = {prompt(1, 0, 4, 0), prompt(2, 900, 4, 1)};
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
  s.waiting[1].arrival_ms = 1100;  // 1 has gained a step meanwhile
  EXPECT_THAT(s.plan().admit, ElementsAre(1));
  s.config.ageing_ms = INFINITY;
  EXPECT_THAT(s.plan().admit, ElementsAre(2));
  s.waiting = {prompt(1, 5, 4), prompt(2, 5, 4)};
  s.waiting[1].preempted = true;
  EXPECT_THAT(s.plan().admit, ElementsAre(2)) << "preempted ones come back first";
}

TEST(Scheduler, OnlyHigherPriorityDisplaces) {
  Situation s;
  s.input.pool.available = 0;
  s.running = {decoding(1, 0, 10, 1), decoding(2, 1, 10, 0)};
  s.running[0].need.heads_with_room = {0, 0, 0, 1};
  s.running[1].need.heads_with_room = {0, 0, 0, 1};
  s.waiting = {prompt(3, 2, 8, 0)};
  EXPECT_THAT(s.plan().preempt, IsEmpty());
  s.waiting[0].priority = 1;
  const Plan plan = s.plan();
  EXPECT_THAT(plan.preempt, ElementsAre(2));
  EXPECT_THAT(plan.admit, ElementsAre(3));
  s.config.preempt_for_priority = false;
  EXPECT_THAT(s.plan().preempt, IsEmpty());
}

TEST(Scheduler, CompressionNeverWaitsForPages) {
  Situation s;
  s.input.pool.available = 0;
  s.running = {decoding(1, 0, 10), decoding(2, 1, 5), decoding(3, 2, 5)};
  s.running[1].stage = s.running[2].stage = Stage::compress;
  const Plan plan = s.plan();
  EXPECT_THAT(plan.compress, ElementsAre(2)) << "one in a step, the first in rank";
  EXPECT_THAT(plan.preempt, ElementsAre(3)) << "2 gives pages back by itself";
  EXPECT_EQ(plan.shape.compress_rows, 20);
  EXPECT_THAT(plan.batch, ElementsAre(BatchItem{1, 1}));
}

TEST(Scheduler, RefusesWhatCanNeverRunAndEndsWhatIsFull) {
  Situation s;
  s.waiting = {prompt(1, 0, 84), prompt(2, 1, 4)};
  s.waiting[1].n_forks = s.input.max_running + 1;
  EXPECT_THAT(s.plan().refuse, ElementsAre(1, 2));
  s.waiting.clear();
  s.input.pool.available = 0;
  s.running = {decoding(3, 0, 20)};
  EXPECT_THAT(s.plan().exhausted, ElementsAre(3));
  s.running = {decoding(3, 0, 19)};
  EXPECT_THAT(s.plan().exhausted, IsEmpty()) << "somebody else holds a page: it may come back";
}

TEST(Scheduler, AllAnswersOfAPromptCount) {
  Situation s;
  s.waiting = {prompt(1, 0, 6), prompt(2, 1, 6)};
  s.waiting[0].n_forks = 3;
  s.input.max_running = 3;
  EXPECT_THAT(s.plan().admit, ElementsAre(1));
  s.input.max_running = 4;
  EXPECT_THAT(s.plan().admit, ElementsAre(1, 2));
  // 1: 2 pages, 3 x 1 for four more tokens each, 2 copies of the open tail; 2: 2 pages and 1
  s.input.pool.available = 10;
  EXPECT_THAT(s.plan().admit, ElementsAre(1, 2));
  s.input.pool.available = 9;
  EXPECT_THAT(s.plan().admit, ElementsAre(1));
}

TEST(Scheduler, RefusesBadNumbers) {
  const auto make = [](const SchedulerConfig& config) { Scheduler(config, make_policy("fcfs")); };
  EXPECT_NO_THROW(make({}));
  EXPECT_THROW(make({.ageing_ms = -1}), Error);
  EXPECT_THROW(make({.ageing_ms = NAN}), Error);
  EXPECT_THROW(make({.lookahead_tokens = -1}), Error);
  EXPECT_THROW(make({.prefill_share = 1}), Error);
  EXPECT_THROW(make({.max_compress_per_step = 0}), Error);
  EXPECT_THROW(Scheduler({}, nullptr), Error);
}

// Long prompts arrive while answers run. dynamic learns the step's costs from a wrong prior and keeps the
// target; fcfs does not.
TEST(Scheduler, DynamicKeepsTheInterTokenLatency) {
  for (const char* policy : {"fcfs", "dynamic"}) {
    const PolicyConfig config{.itl_target_ms = 40, .min_prefill_tokens = 1};
    Scheduler scheduler({.prefill_share = 0.01}, make_policy(policy, config));
    testing::SimOptions options{.n_pages = 4000, .token_budget = 256, .max_running = 16};
    testing::SchedulerSimulator engine(options, scheduler, 1);
    for (int i = 0; i < 60; ++i)
      engine.add({.arrival_ms = 150.0 * i, .prompt_tokens = 700, .max_new_tokens = 60, .new_tokens = 60});
    while (engine.step()) continue;
    double worst_ms = 0;
    for (const testing::SimSequence& s : engine.sequences())
      if (s.job.arrival_ms > 3000) worst_ms = std::max(worst_ms, s.worst_gap_ms);
    if (policy == std::string("dynamic"))
      EXPECT_LT(worst_ms, 40 * 1.1);
    else
      EXPECT_GT(worst_ms, 60) << "otherwise the load proves nothing";
  }
}

}  // namespace
}  // namespace fastcache::engine
