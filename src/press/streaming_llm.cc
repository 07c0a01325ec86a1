// SPDX-License-Identifier: Apache-2.0
// Keeps the first tokens, which attention falls back on, and the most recent ones.
// source: StreamingLLM, arXiv 2309.17453
#include <limits>

#include "press/registry.h"

namespace fastcache::press {
namespace {

// Sinks are the sequence's first tokens, not a head's first rows: in a later turn those in front stay anyhow.
class StreamingLlm final : public Press {
 public:
  explicit StreamingLlm(int n_sink) : n_sink_(n_sink) {}

  PressNeeds needs() const override { return {}; }

  LayerScores score(const LayerInput& layer) const override {
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      const int n_rows = layer.n_rows(head);
      scores[head].resize(n_rows);
      for (int row = 0; row < n_rows; ++row) {
        const int token = layer.token(head, row);
        // A row's index, not its token: exact in f32 for 16 million rows.
        scores[head][row] =
            token < n_sink_ ? std::numeric_limits<float>::infinity() : static_cast<float>(row);
      }
    }
    return scores;
  }

 private:
  int n_sink_;
};

constexpr PressNumber kNumbers[] = {kSinkTokens};

}  // namespace

extern const PressRow kStreamingLlm;
constinit const PressRow kStreamingLlm{
    .name = "streaming_llm",
    .make = [](const PressParams& p) -> std::unique_ptr<Press> {
      return std::make_unique<StreamingLlm>(static_cast<int>(p.number("n_sink")));
    },
    .numbers = kNumbers,
    .summary = "the first n_sink tokens and the most recent ones"};

}  // namespace fastcache::press
