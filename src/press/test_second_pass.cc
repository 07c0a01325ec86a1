// SPDX-License-Identifier: Apache-2.0
// For tests of what lies below: the shape of KVzip. The prompt is read a second time, part by part; a row
// counts by the most attention that any query of these passes pays to it, and the rows of all layers and
// heads compete.
#include <algorithm>

#include "press/allocate.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

class TestSecondPass final : public Press {
 public:
  explicit TestSecondPass(int part) : part_(part) {}

  PressNeeds needs() const override { return {.keys = true, .second_pass = true}; }

  std::vector<Probe> probes(int first_token, int end_token) const override {
    std::vector<Probe> probes;
    for (int token = first_token; token < end_token; token += part_)
      probes.push_back(
          {.instruction = "Again:", .first_token = token, .end_token = std::min(token + part_, end_token)});
    return probes;
  }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      const std::span<const float> highest = layer.record()->probed.of(layer.layer(), head);
      for (int row = 0; row < layer.n_rows(head); ++row)
        scores[head].push_back(highest[layer.token(head, row)]);
    }
    return scores;
  }

  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    RowCounts counts = uniform_counts(scores, budget);
    compete(scores.heads, counts, 0.0);
    return counts;
  }

 private:
  int part_;
};

constexpr PressNumber kNumbers[] = {{.name = "part",
                                     .standard = 2048,
                                     .min = 1,
                                     .max = 1 << 20,
                                     .whole = true,
                                     .help = "tokens of the prompt that each pass reads again"}};

}  // namespace

extern const PressRow kTestSecondPass;
constinit const PressRow kTestSecondPass{
    .name = "test_second_pass",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<TestSecondPass>(static_cast<int>(p.number("part")));
    },
    .numbers = kNumbers,
    .summary = "for tests: rows that get attention when the prompt is read again",
    .plain_scores = false};

}  // namespace fastcache::press
