// SPDX-License-Identifier: Apache-2.0
// An answer of 20,000 tokens in constant memory.
#include <gtest/gtest.h>

#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine {
namespace {

using test_support::DriverOptions;
using test_support::LoopDriver;
using test_support::LoopModel;

constexpr int kBudget = 2'048, kEvery = 512, kTokens = 20'000;

size_t pages_of(int rows) { return static_cast<size_t>((rows + 15) / 16) * LoopModel::kHeads; }

// The pool holds budget + every rows per head and not one page more; uncompressed it would be full after a
// tenth of the answer.
TEST(StepLoopDecodingSlow, TwentyThousandTokensInAPoolOfBudgetAndEvery) {
  LoopModel model(32'768, 1);
  for (const char* inner : {"knorm", "snapkv"}) {
    DriverOptions exact{.pool_bytes = LoopModel::pool_for(kBudget + kEvery),
                        .reserve_pages = LoopModel::kReservePages,
                        .loop = {}};
    LoopDriver driver(model.model, model.compute, exact);
    Request request = LoopModel::request(100, 1, kTokens);
    request.compression.press = std::string{"decoding("} + inner + "(budget=2048), every=512)";
    driver.submit(request);
    size_t highest_early = 0, highest_late = 0;
    for (int step = 0; driver.loop().has_work(); ++step) {
      ASSERT_LT(step, 2 * kTokens);
      driver.step();
      const size_t used = driver.pool().n_pages() - driver.pool().free_pages();
      (driver.collect(0).answers[0].tokens.size() < 5'000 ? highest_early : highest_late) =
          std::max(used, driver.collect(0).answers[0].tokens.size() < 5'000 ? highest_early : highest_late);
      if (step % 512 == 0) driver.loop().check();
    }
    EXPECT_EQ(driver.collect(0).answers[0].tokens.size(), static_cast<size_t>(kTokens)) << inner;
    EXPECT_EQ(driver.collect(0).error, "");
    EXPECT_EQ(driver.collect(0).summary.preemptions, 0);
    EXPECT_EQ(driver.collect(0).summary.compressions, 1 + (kTokens - 2) / kEvery);
    EXPECT_EQ(highest_early, pages_of(kBudget + kEvery));
    EXPECT_EQ(highest_late, highest_early);
  }
}

}  // namespace
}  // namespace fastcache::engine
