// SPDX-License-Identifier: Apache-2.0
// Keeps the rows that received most attention during prefill, per query that could see them. No attention
// matrix is stored: the engine sums up step by step what each row received.
// source: H2O, arXiv 2306.14048
#include <algorithm>

#include "press/registry.h"

namespace fastcache::press {
namespace {

class ObservedAttention final : public Press {
 public:
  PressNeeds needs() const override { return {.keys = true, .received_attention = true}; }

  LayerScores score(const LayerInput& layer) const override {
    const model::QueryRecord& record = *layer.record();
    const model::ReceivedAttention& received = record.received;
    const int end = layer.sequence().token_count();
    const double group = record.attention.n_heads / record.attention.n_kv_heads;
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      const std::span<const double> sums = received.of(layer.layer(), head);
      scores[head].resize(layer.n_rows(head));
      for (int row = 0; row < layer.n_rows(head); ++row) {
        const int token = layer.token(head, row);
        const int n_saw = end - std::max(token, received.first_query);
        scores[head][row] = static_cast<float>(sums[token] / (group * n_saw));
      }
    }
    return scores;
  }
};

}  // namespace

extern const PressRow kObservedAttention;
constinit const PressRow kObservedAttention{
    .name = "observed_attention",
    .make = [](const PressParams&) -> std::unique_ptr<Press> {
      return std::make_unique<ObservedAttention>();
    },
    .numbers = {},
    .summary = "rows that received most attention during prefill, per query that saw them"};

}  // namespace fastcache::press
