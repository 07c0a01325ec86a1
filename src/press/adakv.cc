// SPDX-License-Identifier: Apache-2.0
// Gives the rows of a layer to the heads whose scores are high: those of all heads compete, but for a share
// of the even budget that each head has for certain.
// source: Ada-KV, arXiv 2407.11550
#include <algorithm>

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
      share_out(std::span{scores.heads}.subspan(pair, scores.n_kv_heads),
                std::span{counts}.subspan(pair, scores.n_kv_heads));
    }
    return counts;
  }

 private:
  // counts: [n_kv_heads] even ones on entry; their sum stays. A head with rows keeps at least one.
  void share_out(std::span<const HeadScores> heads, std::span<int> counts) const {
    int left = 0;
    std::vector<float> pool;       // scores of the rows that compete, head after head
    std::vector<size_t> pool_end;  // [n_kv_heads]
    for (size_t h = 0; h < heads.size(); ++h) {
      const int certain = std::min(counts[h], std::max(1, static_cast<int>(counts[h] * safeguard_)));
      left += counts[h] - certain;
      counts[h] = certain;
      const std::vector<int32_t> safe = best_rows_ascending(heads[h], certain);
      auto next_safe = safe.begin();
      for (int row = 0; row < static_cast<int>(heads[h].size()); ++row) {
        if (next_safe != safe.end() && *next_safe == row)
          ++next_safe;
        else
          pool.push_back(heads[h][row]);
      }
      pool_end.push_back(pool.size());
    }
    size_t head = 0;
    for (const int32_t winner : best_rows_ascending(pool, left)) {
      while (static_cast<size_t>(winner) >= pool_end[head]) ++head;
      ++counts[head];
    }
  }

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
