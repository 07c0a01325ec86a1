// SPDX-License-Identifier: Apache-2.0
// In which order the tokens of one step leave.
#include <gtest/gtest.h>

#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::LoopDriver;
using test_support::LoopModel;

// A reader of many streams handles news in the order of their coming; a first token must not wait for it to
// have written out everybody's next one.
TEST(StepLoopOrder, FirstTokensLeaveBeforeTheNextOnesOfOthers) {
  LoopModel model(512, 1);
  LoopDriver driver(model.model, model.compute, {.pool_bytes = LoopModel::pool_for(1'000), .loop = {}});
  std::vector<int> told;
  const auto note = [&](int who) { return [&told, who] { told.push_back(who); }; };
  driver.submit(LoopModel::request(20, 1, 30), note(0));
  driver.submit(LoopModel::request(20, 2, 30), note(1));
  while (driver.collect(1).answers.empty() || driver.collect(1).answers[0].tokens.size() < 2) driver.step();

  driver.submit(LoopModel::request(20, 3, 30), note(2));
  driver.submit(LoopModel::request(20, 4, 30), note(3));
  told.clear();
  driver.step();
  EXPECT_EQ(told, (std::vector{2, 3, 0, 1}));
  told.clear();
  driver.step();
  EXPECT_EQ(told, (std::vector{0, 1, 2, 3}));
  driver.run_to_the_end();
}

}  // namespace
}  // namespace fastcache::engine
