// SPDX-License-Identifier: Apache-2.0
#include "engine/bit_tuning.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "engine/testing/loop_model.h"
#include "press/press_string.h"
#include "press/registry.h"

namespace fastcache::engine {
namespace {

using test_support::LoopModel;

TEST(BitTuning, MeasuresEveryLayerAndKeepsTheAverage) {
  LoopModel model{1'024};
  const std::vector<int32_t> text = LoopModel::prompt(600, 3);
  for (const double average : {2.0, 3.0, 5.0, 8.0}) {
    const BitTuning tuning =
        tune_bits(model.model, model.compute, text, {.average_bits = average, .n_residual = 64});
    ASSERT_EQ(tuning.errors.size(), 2U);
    for (const press::BitErrors& errors : tuning.errors) {
      EXPECT_GT(errors[0], errors[1]);
      EXPECT_GT(errors[1], errors[2]);
      EXPECT_GT(errors[2], 0.0);
    }
    EXPECT_LE(std::accumulate(tuning.layer_bits.begin(), tuning.layer_bits.end(), 0), average * 2);
  }
}

TEST(BitTuning, RefusesWhatItCannotMeasure) {
  LoopModel model{1'024};
  const auto tune = [&](int n, const BitTuningOptions& options) {
    tune_bits(model.model, model.compute, LoopModel::prompt(n, 3), options);
  };
  EXPECT_THROW(tune(200, {}), Error);
  EXPECT_THROW(tune(1'100, {}), Error);
  EXPECT_THROW(tune(600, {.average_bits = 1}), Error);
}

}  // namespace
}  // namespace fastcache::engine
