// SPDX-License-Identifier: Apache-2.0
// pyramidkv's budgets. Its scores are snapkv's (query_presses_test.cc).
#include <gtest/gtest.h>

#include <numeric>

#include "press/allocate.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

TEST(PyramidKv, LayersKeepWhatTheFormulaSays) {
  const auto counts = [](int n_layers, int n_rows, double ratio, int window, double beta) {
    Scores scores{.n_layers = n_layers, .n_kv_heads = 2};
    scores.heads.assign(2 * n_layers, HeadScores(n_rows));
    scores.n_staying.assign(2 * n_layers, 0);
    const auto press = make_press({.name = "pyramidkv",
                                   .ratio = ratio,
                                   .numbers = {{"window", static_cast<double>(window)}, {"beta", beta}}});
    const RowCounts made = press->allocate(scores, {.ratio = ratio});
    const int even = uniform_counts(scores, {.ratio = ratio})[0];
    EXPECT_EQ(std::accumulate(made.begin(), made.end(), 0), even * 2 * n_layers);
    std::vector<int> layers;
    for (int layer = 0; layer < n_layers; ++layer) {
      EXPECT_EQ(made[2 * layer], made[2 * layer + 1]);
      layers.push_back(made[2 * layer]);
    }
    return layers;
  };
  // b = 1000, min 50, max 1950: 2000 - 64 is less, so max 1936 and min 64.
  EXPECT_EQ(counts(4, 2000, 0.5, 64, 20), (std::vector<int>{1936, 1312, 688, 64}));
  // b = 500, min 25, below the window of 64: level. With a window of 16 there is a slope.
  EXPECT_EQ(counts(3, 2000, 0.75, 64, 20), (std::vector<int>{500, 500, 500}));
  EXPECT_EQ(counts(3, 2000, 0.75, 16, 20), (std::vector<int>{975, 500, 25}));
  EXPECT_EQ(counts(1, 500, 0.5, 64, 20), (std::vector<int>{250}));
  EXPECT_EQ(counts(5, 40, 0.5, 64, 20), (std::vector<int>(5, 20)));
  EXPECT_EQ(counts(3, 1000, 0.0, 64, 20), (std::vector<int>(3, 1000)));
  for (const double ratio : {0.1, 0.33, 0.61, 0.77}) counts(30, 3'999, ratio, 8, 20);  // halves and all
}

}  // namespace
}  // namespace fastcache::press
