// SPDX-License-Identifier: Apache-2.0
// For tests of what lies below: budgets as uneven as they can be. Some heads keep everything, one a part, the
// others a single row; which ones, and which rows, is random.
#include <algorithm>
#include <numeric>

#include "press/allocate.h"
#include "press/random_score.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

class Uneven final : public Press {
 public:
  explicit Uneven(uint64_t seed) : seed_(seed) {}

  PressNeeds needs() const override { return {.seed = true}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (int row = 0; row < layer.n_rows(head); ++row)
        scores[head].push_back(random_score(seed_, layer.layer(), head, layer.token(head, row)));
    return scores;
  }

  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    RowCounts counts = uniform_counts(scores, budget);
    int64_t left = std::accumulate(counts.begin(), counts.end(), int64_t{0});
    for (size_t p = 0; p < counts.size(); ++p) {
      counts[p] = std::min(1, scores.n_rows(static_cast<int>(p)));
      left -= counts[p];
    }
    for (const int pair : random_order(scores)) {
      const int more = static_cast<int>(std::min<int64_t>(left, scores.n_rows(pair) - counts[pair]));
      counts[pair] += more;
      left -= more;
    }
    return counts;
  }

 private:
  std::vector<int> random_order(const Scores& scores) const {
    std::vector<int> pairs(scores.heads.size());
    std::iota(pairs.begin(), pairs.end(), 0);
    const auto key = [&](int pair) {
      return random_bits(seed_, pair / scores.n_kv_heads, pair % scores.n_kv_heads, -1);
    };
    std::stable_sort(pairs.begin(), pairs.end(), [&](int a, int b) { return key(a) < key(b); });
    return pairs;
  }

  uint64_t seed_;
};

}  // namespace

extern const PressRow kTestUneven;
constinit const PressRow kTestUneven{
    .name = "test_uneven",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> { return std::make_unique<Uneven>(p.seed); },
    .numbers = {},
    .summary = "for tests: some heads keep all their rows, others one",
    .plain_scores = false};

}  // namespace fastcache::press
