// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace fastcache::cli {
namespace {

TEST(Interrupt, IsCaughtAsOftenAsItComes) {
  Interrupt interrupt;
  EXPECT_FALSE(interrupt.requested());
  for (int time = 0; time < 2; ++time) {
    std::raise(SIGINT);
    EXPECT_TRUE(interrupt.requested());
  }
  interrupt.clear();
  EXPECT_FALSE(interrupt.requested());
}

TEST(InterruptDeathTest, TheSecondEndsTheProgramWhereItShall) {
  const auto twice = [] {
    const Interrupt interrupt(Interrupt::Second::ends_the_program);
    std::raise(SIGINT);
    if (!interrupt.requested()) std::exit(1);
    std::raise(SIGINT);
    std::exit(0);
  };
  EXPECT_EXIT(twice(), testing::KilledBySignal(SIGINT), "");
}

}  // namespace
}  // namespace fastcache::cli
