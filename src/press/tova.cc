// SPDX-License-Identifier: Apache-2.0
// Keeps the rows that the last query attends to, the mean of all heads of the layer: one set of tokens for
// the layer.
// source: TOVA, "Transformers are Multi-State RNNs", arXiv 2401.06104
#include "press/query_attention.h"
#include "press/registry.h"
#include "press/snapkv.h"

namespace fastcache::press {
namespace {

class Tova final : public Press {
 public:
  PressNeeds needs() const override { return {.keys = true, .last_queries = 1}; }

  // By token: after an uneven compression heads hold different ones. A head that has lost a token has no vote
  // on it.
  LayerScores score(const LayerInput& layer) const override {
    const int n_tokens = layer.sequence().token_count();
    std::vector<float> attention(n_tokens), n_votes(n_tokens);  // [tokens], over the heads that hold each
    AttentionScratch scratch;
    std::vector<float> sums;
    const auto group = static_cast<float>(queries_per_kv_head(layer));
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      sums.resize(layer.n_rows(head));
      attention_sums(layer, head, window_tokens(layer, 1), scratch, sums);
      for (int row = 0; row < layer.n_rows(head); ++row) {
        const int token = layer.token(head, row);
        attention[token] += sums[row];
        n_votes[token] += group;
      }
    }
    LayerScores scores(layer.n_kv_heads());
    for (int head = 0; head < layer.n_kv_heads(); ++head) {
      scores[head].resize(layer.n_rows(head));
      for (int row = 0; row < layer.n_rows(head); ++row) {
        const int token = layer.token(head, row);
        scores[head][row] = attention[token] / n_votes[token];
      }
    }
    raise_recent(layer, first_window_token(layer, 1), scores);
    return scores;
  }
};

}  // namespace

extern const PressRow kTova;
constinit const PressRow kTova{
    .name = "tova",
    .make = [](const PressParams&) -> std::unique_ptr<Press> { return std::make_unique<Tova>(); },
    .numbers = {},
    .summary = "tokens that the last query attends to, the same for all heads of a layer"};

}  // namespace fastcache::press
