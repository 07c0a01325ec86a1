// SPDX-License-Identifier: Apache-2.0
// Gives the rows of a layer to the heads whose scores are high: those of all heads compete, but for a share
// of the even budget that each head has for certain.
// source: Ada-KV, arXiv 2407.11550
#include "press/allocate.h"
#include "press/wrapper.h"

namespace fastcache::press {
namespace {

class AdaKv final : public Wrapper {
 public:
  AdaKv(std::unique_ptr<Press> inner, double safeguard) : Wrapper(std::move(inner)), safeguard_(safeguard) {}

  RowCounts allocate(const Scores& scores, const Budget& budget) const override {
    RowCounts counts = uniform_counts(scores, budget);
    for (int layer = 0; layer < scores.n_layers; ++layer) {
      const int pair = layer * scores.n_kv_heads;
      compete(std::span{scores.heads}.subspan(pair, scores.n_kv_heads),
              std::span{counts}.subspan(pair, scores.n_kv_heads), safeguard_);
    }
    return counts;
  }

 private:
  double safeguard_;
};

constexpr PressNumber kNumbers[] = {{.name = "safeguard",
                                     .standard = 0.2,
                                     .min = 0,
                                     .max = 1,
                                     .help = "share of its even budget that each head has for certain"}};

}  // namespace

extern const PressRow kAdaKv;
constinit const PressRow kAdaKv{
    .name = "adakv",
    .numbers = kNumbers,
    .summary = "the rows of a layer to the heads with the highest scores",
    .plain_scores = false,
    .plain_rows = true,
    .wrap = [](const PressParams& p, std::vector<std::unique_ptr<Press>> inner) -> std::unique_ptr<Press> {
      return std::make_unique<AdaKv>(std::move(inner[0]), p.number("safeguard"));
    },
    .min_inner = 1,
    .max_inner = 1};

}  // namespace fastcache::press
