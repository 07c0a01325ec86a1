// SPDX-License-Identifier: Apache-2.0
// What tests of graphs share when they hold logits against others.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "base/cpu_features.h"
#include "base/error.h"

namespace fastcache::model::test_support {

inline float largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float largest = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const float difference = std::abs(a[i] - b[i]);
    if (!(difference <= largest)) largest = difference;  // a NaN wins
  }
  return largest;
}

// FASTCACHE_ISA may ask for what this CPU has not got.
inline void skip_unless_isa_is_there() {
  try {
    selected_isa();
  } catch (const Error& error) {
    GTEST_SKIP() << error.what();
  }
}

}  // namespace fastcache::model::test_support
