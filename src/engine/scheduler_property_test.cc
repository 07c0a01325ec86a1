// SPDX-License-Identifier: Apache-2.0
// What the scheduler owes, under every policy, in thousands of random small engines in virtual time.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "base/test_seed.h"
#include "engine/testing/plan_check.h"
#include "engine/testing/scheduler_simulator.h"

namespace fastcache::engine {
namespace {

using testing::broken_promise;
using testing::SchedulerSimulator;
using testing::SimJob;
using testing::SimOptions;
using testing::SimSequence;
using testing::SimState;

constexpr int kRuns = 1500;  // of each policy

struct Dice {
  std::mt19937_64 random;
  int between(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  bool one_in(int n) { return between(1, n) == 1; }
  int any_of(std::initializer_list<int> values) {
    return values.begin()[between(0, static_cast<int>(values.size()) - 1)];
  }
};

SimOptions random_options(Dice& dice) {
  return {.n_heads = dice.between(1, 4),
          .rows_per_page = dice.any_of({1, 2, 4, 8}),
          .n_pages = dice.between(4, 90),
          .token_budget = dice.between(2, 24),
          .max_running = dice.between(1, 9)};
}

SchedulerConfig random_config(Dice& dice) {
  return {.ageing_ms = dice.one_in(3) ? INFINITY : dice.any_of({0, 1, 30, 1000}),
          .lookahead_tokens = dice.between(0, 8),
          .prefill_share = dice.between(0, 9) / 10.0,
          .max_compress_per_step = dice.between(1, 2),
          .preempt_for_priority = dice.one_in(2)};
}

SimJob random_job(Dice& dice) {
  SimJob job;
  job.priority = dice.one_in(2) ? 0 : dice.between(-2, 2);
  job.arrival_ms = dice.between(0, 120);
  if (dice.one_in(6)) job.deadline_ms = job.arrival_ms + dice.between(0, 150);
  if (dice.one_in(8)) job.cancel_ms = job.arrival_ms + dice.between(0, 100);
  job.prompt_tokens = dice.one_in(4) ? dice.between(1, 90) : dice.between(1, 20);
  job.max_new_tokens = dice.between(1, 24);
  job.new_tokens = dice.between(1, job.max_new_tokens);
  if (dice.one_in(5)) job.n_forks = dice.between(2, 4);
  job.compress = dice.one_in(3);
  if (dice.one_in(3)) job.prefix_group = dice.between(0, 2);
  return job;
}

bool fits_alone(const SimSequence& s, const SimOptions& o) {
  const int most = s.job.prompt_tokens + s.job.max_new_tokens;
  return o.n_heads * ((most + o.rows_per_page - 1) / o.rows_per_page) <= o.n_pages &&
         s.job.n_forks <= o.max_running;
}

// A step moves the first in rank by a token at least, and its progress is lost only to an arrival of higher
// priority: so the bound is all work, once more for each request that may displace.
int step_bound(const SchedulerSimulator& engine) {
  int work = 0, n = 0;
  for (const SimSequence& s : engine.sequences()) {
    work += s.job.n_forks * (s.job.prompt_tokens + s.job.new_tokens + 3);
    n += s.job.n_forks;
  }
  return 2 * work + n + 50;
}

void check_end(SchedulerSimulator& engine, const SimOptions& options) {
  for (const SimSequence& s : engine.sequences()) {
    EXPECT_NE(s.state, SimState::waiting) << s.id;
    EXPECT_NE(s.state, SimState::running) << s.id;
    EXPECT_NE(s.state, SimState::exhausted) << s.id << " was admitted, so it must fit alone";
    const bool fits = fits_alone(s, options);
    const bool unlimited = s.job.cancel_ms == kNoDeadline && s.job.deadline_ms == kNoDeadline;
    EXPECT_FALSE(s.state == SimState::refused && fits) << s.id;
    EXPECT_FALSE(unlimited && fits && s.state != SimState::finished) << s.id;
    EXPECT_FALSE(s.state == SimState::finished && s.generated != s.job.new_tokens) << s.id;
    EXPECT_FALSE(s.state == SimState::expired && s.end_ms < s.job.deadline_ms) << s.id;
  }
  engine.drop_cache();
  EXPECT_EQ(engine.free_pages(), options.n_pages) << "pages left behind";
}

struct Tally {  // the random runs must reach what they are about
  int steps = 0, preempted = 0, dropped = 0, compressed = 0, expired = 0, refused = 0, rows = 0;

  void add(const Plan& plan) {
    ++steps;
    preempted += static_cast<int>(plan.preempt.size());
    dropped += plan.drop_pages > 0;
    compressed += static_cast<int>(plan.compress.size());
    expired += static_cast<int>(plan.expire.size());
    refused += static_cast<int>(plan.refuse.size());
    rows += static_cast<int>(plan.batch.size());
  }
};

class SchedulerProperties : public ::testing::TestWithParam<const char*> {};

void random_run(const char* policy, uint64_t seed, Tally& tally) {
  Dice dice{std::mt19937_64(seed)};
  const SimOptions options = random_options(dice);
  const SchedulerConfig config = random_config(dice);
  Scheduler scheduler(config, make_policy(policy, {.itl_target_ms = 1.0 * dice.between(1, 20)}));
  SchedulerSimulator engine(options, scheduler, dice.random());
  for (int n = dice.between(1, 14); n > 0; --n) engine.add(random_job(dice));
  const int bound = step_bound(engine);
  const auto on_plan = [&](const SchedulerInput& input, const Plan& plan) {
    tally.add(plan);
    const std::string broken = broken_promise(input, plan, config);
    if (!broken.empty()) throw std::logic_error(broken);
  };
  while (engine.step(on_plan))
    if (engine.n_steps() > bound) throw std::logic_error("somebody starves: too many steps");
  check_end(engine, options);
}

TEST_P(SchedulerProperties, HoldInRandomEngines) {
  Tally tally;
  for (int run = 0; run < kRuns && !HasFailure(); ++run) {
    const uint64_t seed = test_seed() + run;
    SCOPED_TRACE("run " + std::to_string(run));
    try {
      random_run(GetParam(), seed, tally);
    } catch (const std::logic_error& error) {
      FAIL() << error.what();
    }
  }
  EXPECT_GT(tally.preempted, kRuns / 10);
  EXPECT_GT(tally.dropped, kRuns / 50);
  EXPECT_GT(tally.compressed, kRuns / 2);
  EXPECT_GT(tally.expired, kRuns / 20);
  EXPECT_GT(tally.refused, kRuns / 20);
  EXPECT_GT(tally.rows, tally.steps);
}

// One class, no scarcity: first tokens, or at least admissions, in the order of arrival.
TEST_P(SchedulerProperties, FirstInFirstOutInAClass) {
  Dice dice{std::mt19937_64(test_seed())};
  for (int run = 0; run < 100; ++run) {
    Scheduler scheduler({.ageing_ms = INFINITY}, make_policy(GetParam()));
    SimOptions options = random_options(dice);
    options.n_pages = 2000;
    SchedulerSimulator engine(options, scheduler, dice.random());
    std::vector<double> arrival_of{0};  // by id
    for (int i = 0; i < 12; ++i) {
      SimJob job = random_job(dice);
      job.priority = 0;
      job.n_forks = 1;
      arrival_of.push_back(job.arrival_ms);
      engine.add(job);
    }
    double last = 0;
    const auto on_plan = [&](const SchedulerInput&, const Plan& plan) {
      ASSERT_TRUE(plan.preempt.empty());
      for (const RequestId id : plan.admit) {
        ASSERT_GE(arrival_of[id], last) << "run " << run;
        last = arrival_of[id];
      }
    };
    while (!HasFatalFailure() && engine.step(on_plan)) continue;
  }
}

// More important requests than the engine can serve arrive for ever; one unimportant one must still end, when
// it has aged past them.
TEST_P(SchedulerProperties, NobodyStarvesUnderOverload) {
  for (const bool preempt : {false, true}) {
    Scheduler scheduler({.ageing_ms = 100, .preempt_for_priority = preempt}, make_policy(GetParam()));
    SchedulerSimulator engine({.n_pages = 40, .token_budget = 8}, scheduler, 1);
    const RequestId low =
        engine.add({.priority = 0, .prompt_tokens = 30, .max_new_tokens = 20, .new_tokens = 20});
    const auto served = [&] { return engine.sequences()[low - 1].state == SimState::finished; };
    for (int i = 0; i < 2000; ++i)
      engine.add({.priority = 2,
                  .arrival_ms = 2.0 * i,
                  .prompt_tokens = 20,
                  .max_new_tokens = 10,
                  .new_tokens = 10});
    while (!served() && engine.now_ms() < 4000) ASSERT_TRUE(engine.step());
    EXPECT_TRUE(served()) << preempt;
  }
}

// Pages there are enough, rows not: decode rows take turns and prompts get on.
TEST_P(SchedulerProperties, DecodeRowsTakeTurns) {
  for (const int budget : {2, 3, 5, 16}) {
    SchedulerConfig config{.prefill_share = 0.25};
    Scheduler scheduler(config, make_policy(GetParam()));
    SchedulerSimulator engine({.n_pages = 5000, .token_budget = budget, .max_running = 20}, scheduler, 1);
    for (int i = 0; i < 40; ++i)
      engine.add({.arrival_ms = 10.0 * i, .prompt_tokens = 30, .max_new_tokens = 60, .new_tokens = 60});
    const int cap = budget - std::max(1, static_cast<int>(std::ceil(0.25 * budget)));
    const int longest = (20 + cap - 1) / cap;
    while (engine.step())
      for (const SimSequence& s : engine.sequences()) {
        const bool decodes = s.state == SimState::running && s.stage == Stage::decode;
        ASSERT_LE(decodes ? s.steps_waited : 0, longest) << budget;
      }
  }
}

std::vector<const char*> names() {
  std::vector<const char*> all;
  for (const PolicyEntry& entry : policies()) all.push_back(entry.name);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Policies, SchedulerProperties, ::testing::ValuesIn(names()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace fastcache::engine
