// SPDX-License-Identifier: Apache-2.0
#include "engine/cost_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/test_seed.h"

namespace fastcache::engine {
namespace {

double true_ms(const StepCosts& c, const StepShape& s) {
  return c.fixed + c.per_prefill_token * s.prefill_tokens + c.per_decode_row * s.decode_rows +
         c.per_kv_row_read * s.kv_rows_read + c.per_compress_row * s.compress_rows;
}

constexpr StepCosts kMachine{4, 0.8, 1.5, 2e-4, 0.03};

struct Steps {
  std::mt19937_64 random{test_seed()};
  double uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  }

  StepShape decode() {
    StepShape shape;
    for (int rows = static_cast<int>(uniform(1, 9)); rows > 0; --rows)
      shape = shape + decode_shape(static_cast<int>(uniform(0, 4000)));
    return shape;
  }
  StepShape mixed() {
    StepShape shape = uniform(0, 1) < 0.2 ? StepShape{} : decode();
    shape = shape + prefill_shape(static_cast<int>(uniform(1, 512)), static_cast<int>(uniform(0, 4000)));
    if (uniform(0, 1) < 0.1) shape.compress_rows = uniform(100, 4000);
    return shape;
  }
  StepShape any() { return uniform(0, 1) < 0.5 ? decode() : mixed(); }
};

void expect_close(const CostModel& model, const StepCosts& machine, double tolerance, Steps& steps) {
  for (int i = 0; i < 50; ++i) {
    const StepShape shape = steps.any();
    const double expected = true_ms(machine, shape);
    ASSERT_NEAR(model.predict_ms(shape), expected, tolerance * expected)
        << shape.prefill_tokens << " prompt tokens, " << shape.decode_rows << " rows, " << shape.kv_rows_read;
  }
}

TEST(CostModel, PrefillCountsEachPairOnce) {
  double pairs = 0;
  for (int token = 0; token < 7; ++token) pairs += 100 + token + 1;
  EXPECT_EQ(prefill_shape(7, 100).kv_rows_read, pairs);
  StepShape one_by_one;
  for (int token = 0; token < 7; ++token) one_by_one = one_by_one + prefill_shape(1, 100 + token);
  EXPECT_EQ(prefill_shape(7, 100).kv_rows_read, one_by_one.kv_rows_read);
  EXPECT_EQ(decode_shape(100).kv_rows_read, prefill_shape(1, 100).kv_rows_read);
}

TEST(CostModel, LearnsTheMachineFromAWrongPrior) {
  Steps steps;
  CostModel model({.fixed = 100, .per_prefill_token = 0.01, .per_decode_row = 30, .per_kv_row_read = 0});
  for (int i = 0; i < 400; ++i) {
    const StepShape shape = steps.any();
    model.observe(shape, true_ms(kMachine, shape));
  }
  expect_close(model, kMachine, 0.05, steps);
}

// One step in ten takes up to ten times as long, all others are off by a tenth.
TEST(CostModel, SlowStepsOfANoisyMachineCountLittle) {
  Steps steps;
  CostModel model;
  for (int i = 0; i < 800; ++i) {
    const StepShape shape = steps.any();
    const double noise = i % 10 == 0 ? steps.uniform(3, 10) : steps.uniform(0.9, 1.1);
    model.observe(shape, noise * true_ms(kMachine, shape));
  }
  expect_close(model, kMachine, 0.25, steps);
}

TEST(CostModel, FollowsAMachineThatBecomesSlower) {
  Steps steps;
  CostModel model;
  StepCosts slower = kMachine;
  slower.per_prefill_token *= 3;
  slower.per_decode_row *= 3;
  for (int i = 0; i < 3000; ++i) {
    const StepShape shape = steps.any();
    model.observe(shape, true_ms(i < 1000 ? kMachine : slower, shape));
  }
  expect_close(model, slower, 0.1, steps);
}

TEST(CostModel, LongDecodingDoesNotForgetWhatPrefillCosts) {
  Steps steps;
  CostModel model;
  for (int i = 0; i < 10'400; ++i) {
    const StepShape shape = i < 400 ? steps.any() : steps.decode();
    model.observe(shape, true_ms(kMachine, shape));
  }
  expect_close(model, kMachine, 0.1, steps);
}

TEST(CostModel, NeverNegativeNeverBrokenByWhatItSees) {
  Steps steps;
  CostModel model;
  for (int i = 0; i < 500; ++i) {
    const double nonsense[] = {0, -3, std::numeric_limits<double>::quiet_NaN(), INFINITY};
    model.observe(steps.any(), nonsense[i % 4]);
  }
  model.observe({}, 5);
  EXPECT_EQ(model.predict_ms(decode_shape(10)), CostModel().predict_ms(decode_shape(10)));
  for (int i = 0; i < 500; ++i) {
    model.observe(steps.any(), std::pow(10, steps.uniform(-6, 6)));
    const StepCosts c = model.costs();
    for (const double cost :
         {c.fixed, c.per_prefill_token, c.per_decode_row, c.per_kv_row_read, c.per_compress_row})
      ASSERT_TRUE(std::isfinite(cost) && cost >= 0) << cost;
  }
}

}  // namespace
}  // namespace fastcache::engine
