// SPDX-License-Identifier: Apache-2.0
// Keeps the rows that the prompt's last queries attend to, with their neighbours, and these queries' own
// rows. A prompt no longer than the window is all window: a budget below it keeps the most recent rows.
// source: SnapKV, arXiv 2404.14469
#include "press/snapkv.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "press/query_attention.h"
#include "press/registry.h"

namespace fastcache::press {
namespace {

// The candidates in front of the window: tokens ascend with rows.
int rows_before(const LayerInput& layer, int head, int token) {
  int low = 0, high = layer.n_rows(head);
  while (low < high) {
    const int middle = (low + high) / 2;
    if (layer.token(head, middle) < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Each of the n first: the mean over kernel rows around it; what lies outside of them counts as 0.
HeadScores pooled(std::span<const float> sums, int n, int kernel, float divisor) {
  HeadScores scores(sums.size());
  const int reach = kernel / 2;
  for (int row = 0; row < n; ++row) {
    float sum = 0.0f;
    for (int i = std::max(0, row - reach); i < std::min(n, row + reach + 1); ++i) sum += sums[i];
    scores[row] = sum / divisor;
  }
  return scores;
}

class SnapKv final : public Press {
 public:
  explicit SnapKv(const SnapKvParams& params) : params_(params) {}
  PressNeeds needs() const override { return {.keys = true, .last_queries = params_.window}; }
  LayerScores score(const LayerInput& layer) const override { return snapkv_scores(layer, params_); }

 private:
  SnapKvParams params_;
};

}  // namespace

LayerScores snapkv_scores(const LayerInput& layer, const SnapKvParams& params) {
  LayerScores scores(layer.n_kv_heads());
  AttentionScratch scratch;
  std::vector<float> sums;
  const int n_tokens = window_tokens(layer, params.window);
  const int first_token = first_window_token(layer, params.window);
  for (int head = 0; head < layer.n_kv_heads(); ++head) {
    sums.resize(layer.n_rows(head));
    attention_sums(layer, head, n_tokens, scratch, sums);
    const int n_queries = n_tokens * queries_per_kv_head(layer);
    scores[head] = pooled(sums, rows_before(layer, head, first_token), params.kernel,
                          static_cast<float>(params.kernel) * static_cast<float>(std::max(1, n_queries)));
  }
  raise_recent(layer, first_token, scores);
  return scores;
}

SnapKvParams snapkv_params(const PressParams& params) {
  const SnapKvParams made{.window = static_cast<int>(params.number("window")),
                          .kernel = static_cast<int>(params.number("kernel"))};
  if (made.kernel % 2 == 0)
    throw Error{Code::bad_request,
                fmt::format("press '{}': kernel = {} must be odd, as many rows before as behind the middle",
                            params.name, made.kernel)};
  return made;
}

void raise_recent(const LayerInput& layer, int first_token, LayerScores& scores) {
  constexpr float kSpread = 5e-4f;
  float highest = 0.0f;
  std::vector<int> n_before(scores.size());
  for (size_t head = 0; head < scores.size(); ++head) {
    n_before[head] = rows_before(layer, static_cast<int>(head), first_token);
    for (int row = 0; row < n_before[head]; ++row)
      highest = scores[head][row] > highest ? scores[head][row] : highest;
  }
  if (highest == 0.0f) highest = 1.0f;
  for (size_t head = 0; head < scores.size(); ++head) {
    const int n_rows = static_cast<int>(scores[head].size()), n_recent = n_rows - n_before[head];
    for (int i = 0; i < n_recent; ++i)
      scores[head][n_before[head] + i] =
          highest * (1.0f + kSpread * static_cast<float>(i + 1) / static_cast<float>(n_recent));
  }
}

namespace {

constexpr PressNumber kNumbers[] = {{.name = "kernel",
                                     .standard = 5,
                                     .min = 1,
                                     .max = 99,
                                     .whole = true,
                                     .help = "rows that a vote is spread over, odd"},
                                    {.name = "window",
                                     .standard = 64,
                                     .min = 1,
                                     .max = model::kMostLastQueries,
                                     .whole = true,
                                     .help = "last tokens, whose queries vote and whose rows stay"}};

}  // namespace

extern const PressRow kSnapKv;
constinit const PressRow kSnapKv{.name = "snapkv",
                                 .make = [](const PressParams& p) -> std::unique_ptr<Press> {
                                   return std::make_unique<SnapKv>(snapkv_params(p));
                                 },
                                 .numbers = kNumbers,
                                 .summary = "rows that the last queries attend to, with their neighbours"};

}  // namespace fastcache::press
