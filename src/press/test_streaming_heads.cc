// SPDX-License-Identifier: Apache-2.0
// For tests of what lies below: the shape of DuoAttention. Every second head is a streaming head: behind the
// prompt, and whenever `every` tokens were decoded, it is cut to its first tokens and the most recent ones.
// The others keep all, so an answer's memory grows, but half as fast.
#include <limits>

#include "press/allocate.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

class TestStreamingHeads final : public Press {
 public:
  TestStreamingHeads(int n_sink, int every) : n_sink_(n_sink), every_(every) {}

  PressNeeds needs() const override { return {}; }
  int decode_interval() const override { return every_; }
  bool bounds_rows() const override { return false; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head)
      for (int row = 0; row < layer.n_rows(head); ++row)
        scores[head].push_back(layer.token(head, row) < n_sink_ ? std::numeric_limits<float>::infinity()
                                                                : static_cast<float>(row));
    return scores;
  }

  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    RowCounts counts = uniform_counts(scores, budget);
    for (int pair = 0; pair < static_cast<int>(counts.size()); ++pair)
      if (pair % 2 == 0) counts[pair] = scores.n_rows(pair);
    return counts;
  }

 private:
  int n_sink_;
  int every_;
};

constexpr PressNumber kNumbers[] = {kSinkTokens,
                                    {.name = "every",
                                     .standard = 16,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "tokens that are decoded between two cuts"}};

}  // namespace

extern const PressRow kTestStreamingHeads;
constinit const PressRow kTestStreamingHeads{
    .name = "test_streaming_heads",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<TestStreamingHeads>(static_cast<int>(p.number("n_sink")),
                                                  static_cast<int>(p.number("every")));
    },
    .numbers = kNumbers,
    .summary = "for tests: every second head holds first and recent rows only, also during decoding",
    .amount = Amount::rows,
    .plain_scores = false};

}  // namespace fastcache::press
