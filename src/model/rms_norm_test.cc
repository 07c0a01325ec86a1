// SPDX-License-Identifier: Apache-2.0
#include "model/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace fastcache::model {

TEST(RmsNorm, IsTheFormulaForEveryLength) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (size_t n : {1, 2, 15, 16, 17, 64, 576, 577}) {
    std::vector<float> x(n), weight(n), out(n);
    double squares = 0;
    for (size_t i = 0; i < n; ++i) {
      x[i] = normal(random);
      weight[i] = normal(random);
      squares += double{x[i]} * x[i];
    }
    rms_norm(x, weight, 1e-5f, out.data());
    for (size_t i = 0; i < n; ++i) {
      const double expected = x[i] / std::sqrt(squares / static_cast<double>(n) + 1e-5) * weight[i];
      EXPECT_NEAR(out[i], expected, 1e-6 * (1 + std::abs(expected))) << "n " << n << ", element " << i;
    }
  }
}

TEST(RmsNorm, ARowOfZerosStaysFinite) {
  std::vector<float> x(32, 0.0f), weight(32, 1.0f);
  rms_norm(x, weight, 1e-5f, x.data());
  for (float value : x) EXPECT_EQ(value, 0.0f);
}

}  // namespace fastcache::model
