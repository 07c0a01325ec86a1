// SPDX-License-Identifier: Apache-2.0
#include "model/prune_step.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/log.h"
#include "kv/head_reader.h"

namespace fastcache::model {
namespace {

// [n_new]: what the step's last token of the sequence pays to the new tokens in the layer that just ran.
std::vector<float> last_attention(const StepContext& context, const kv::PageMemory& pages,
                                  const attention::AttentionShape& of_model, int layer, int s,
                                  int first_row) {
  const attention::AttentionShape shape = attention::layer_shape(of_model, layer);
  const StepSequence& step = context.sequences[static_cast<size_t>(s)];
  const int width = (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim;
  const float* q = context.qkv.data() + static_cast<size_t>(first_row + step.n_new - 1) * width;
  std::vector<float> mean(static_cast<size_t>(step.n_new));
  for (int head = 0; head < shape.n_heads; ++head, q += shape.head_dim) {
    const kv::HeadRows rows = step.sequence->head_rows(layer, head / (shape.n_heads / shape.n_kv_heads));
    std::vector<float> k(static_cast<size_t>(rows.n_rows) * shape.head_dim);
    kv::read_head_rows(pages, shape.head_dim, rows, 0, rows.n_rows, k.data(), nullptr);
    std::vector<double> weights(static_cast<size_t>(rows.n_rows));
    double highest = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int row = 0; row < rows.n_rows; ++row) {
      if (shape.window > 0 &&
          step.sequence->row_token(layer, head / (shape.n_heads / shape.n_kv_heads), row) <=
              step.sequence->token_count() - 1 - shape.window) {
        weights[row] = -std::numeric_limits<double>::infinity();
        continue;
      }
      const float* key = k.data() + static_cast<size_t>(row) * shape.head_dim;
      weights[row] = shape.scale * std::inner_product(q, q + shape.head_dim, key, 0.0);
      if (shape.softcap > 0) weights[row] = shape.softcap * std::tanh(weights[row] / shape.softcap);
      highest = std::max(highest, weights[row]);
    }
    for (double& w : weights) sum += w = std::exp(w - highest);
    for (int i = 0; i < step.n_new; ++i)
      mean[i] += static_cast<float>(weights[rows.n_rows - step.n_new + i] / sum / shape.n_heads);
  }
  return mean;
}

void check_kept(std::span<const int32_t> kept, int n_new) {
  const bool ascending = std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end();
  if (!kept.empty() && kept.front() >= 0 && kept.back() == n_new - 1 && ascending) return;
  throw Error{Code::internal,
              fmt::format("a token pruner must keep some of {} tokens in order, the last among them", n_new)};
}

// The rows of the dropped tokens, not yet computed, leave the tables of all layers behind.
void drop_rows(kv::Sequence& sequence, int after_layer, int n_new, std::span<const int32_t> kept) {
  const kv::CacheShape& shape = sequence.shape();
  for (int layer = after_layer + 1; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head)
      if (!sequence.keep_new_rows(layer, head, n_new, kept))
        throw Error{Code::internal, "no page for the rows that a token pruner kept"};
}

}  // namespace

int prune_layer(const StepContext& context) {
  int layer = -1;
  for (const StepSequence& step : context.sequences) {
    if (step.pruner == nullptr) continue;
    const int its = step.pruner->after_layer();
    if (its < 0 || its > context.hparams.n_layers - 2)
      throw Error{Code::unsupported,
                  fmt::format("tokens cannot be dropped behind layer {}: the model has {}, "
                              "and one must follow",
                              its, context.hparams.n_layers)};
    if (layer >= 0 && layer != its)
      throw Error{Code::unsupported, "the sequences of a step drop tokens behind different layers"};
    if (context.sees_spans[static_cast<size_t>(&step - context.sequences.data())])
      throw Error{Code::unsupported, "tokens that see others behind them cannot be dropped within a step"};
    if (step.record != nullptr)
      throw Error{Code::unsupported, "a prompt whose tokens are dropped keeps no queries for a press"};
    layer = its;
  }
  return layer;
}

void prune_step(StepContext& context, const kv::PageMemory& pages, const attention::AttentionShape& shape,
                int after_layer) {
  std::vector<bool> goes_on(context.rows.size(), true);
  int first_row = 0;
  for (size_t s = 0; s < context.sequences.size(); ++s) {
    const StepSequence& step = context.sequences[s];
    if (step.pruner != nullptr) {
      const std::vector<int32_t> kept = step.pruner->keep(
          last_attention(context, pages, shape, after_layer, static_cast<int>(s), first_row));
      check_kept(kept, step.n_new);
      std::fill_n(goes_on.begin() + first_row, step.n_new, false);
      for (const int32_t i : kept) goes_on[static_cast<size_t>(first_row + i)] = true;
      if (static_cast<int>(kept.size()) < step.n_new)
        drop_rows(*step.sequence, after_layer, step.n_new, kept);
    }
    first_row += step.n_new;
  }
  context.drop_rows(goes_on);
  context.plan_attention(pages, shape, after_layer + 1);
}

}  // namespace fastcache::model
