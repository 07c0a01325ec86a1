// SPDX-License-Identifier: Apache-2.0
#include "press/compress.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cassert>
#include <numeric>

#include "base/error.h"

namespace fastcache::press {
namespace {

LayerInput layer_view(const CompressJob& job, int layer) {
  const LayerInput all{*job.pool,  *job.sequence,
                       layer,      job.new_rows_only,
                       job.record, job.output_weights.empty() ? nullptr : job.output_weights[layer]};
  if (job.local == nullptr || !job.local->is_local[layer]) return all;
  return all.seen_from(job.sequence->next_position() - job.local->window + 1);
}

int64_t rows_seen(const CompressJob& job) {
  int64_t n = 0;
  for (int layer = 0; layer < job.sequence->shape().n_layers; ++layer) {
    const LayerInput view = layer_view(job, layer);
    for (int head = 0; head < view.n_kv_heads(); ++head) n += view.n_held(head);
  }
  return n;
}

Scores score_all(const Press& press, const kv::CacheShape& shape, std::span<const LayerInput> layers,
                 ComputePool& threads) {
  Scores scores{.n_layers = shape.n_layers, .n_kv_heads = shape.n_kv_heads};
  scores.heads.resize(shape.n_heads());
  scores.n_staying.resize(shape.n_heads());
  threads.parallel_for(shape.n_layers, [&](int layer) {
    LayerScores of_layer = press.score(layers[layer]);
    assert(static_cast<int>(of_layer.size()) == shape.n_kv_heads);
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      assert(static_cast<int>(of_layer[head].size()) == layers[layer].n_rows(head));
      const int pair = layer * shape.n_kv_heads + head;
      scores.heads[pair] = std::move(of_layer[head]);
      scores.n_staying[pair] = layers[layer].n_staying(head);
    }
  });
  return scores;
}

// [pair]: what one stage makes of the candidates.
std::vector<Edit> edits_of(const Stage& stage, const kv::CacheShape& shape,
                           std::span<const LayerInput> layers, ComputePool& threads) {
  const Scores scores = score_all(*stage.press, shape, layers, threads);
  const RowCounts counts = stage.press->allocate(scores, stage.budget);
  assert(static_cast<int>(counts.size()) == shape.n_heads());
  std::vector<Edit> edits(shape.n_heads());
  threads.parallel_for(shape.n_heads(), [&](int pair) {
    const int layer = pair / shape.n_kv_heads, head = pair % shape.n_kv_heads;
    edits[pair] = stage.press->apply(layers[layer], head, scores.heads[pair], counts[pair]);
  });
  return edits;
}

// A method that takes channels from the keys must not look as if it had freed them.
void check_channels(const Edit& edit, int head_dim) {
  if (edit.key_channels.empty() || static_cast<int>(edit.key_channels.size()) == head_dim) return;
  throw Error{
      Code::unsupported,
      fmt::format("a press keeps {} of {} channels of a head's keys, but pages store all of them: nothing "
                  "would be freed; choose a press that removes rows",
                  edit.key_channels.size(), head_dim)};
}

// The rows in front of the candidates, then the candidates that are left, or what stands for them now.
PlannedHead plan_head(const LayerInput& layer, int head, Edit last) {
  const int n_unseen = layer.n_unseen(head), n_staying = layer.n_staying(head);
  PlannedHead planned{.layer = layer.layer(),
                      .head = head,
                      .n_before = n_unseen + n_staying + layer.n_behind(head),
                      .n_unseen = n_unseen};
  planned.rows.resize(n_staying);
  std::iota(planned.rows.begin(), planned.rows.end(), n_unseen);
  for (int row = 0; row < layer.n_rows(head); ++row)
    planned.rows.push_back(n_unseen + n_staying + layer.row_behind(head, row));
  planned.first_new = n_staying;
  planned.k = std::move(last.k);
  planned.v = std::move(last.v);
  planned.bias = std::move(last.bias);
  return planned;
}

// Plans as many rows as make full pages of the sequence's own type, so that a head never grows.
void plan_format(const kv::HeadTable& table, const Format& format, kv::KvType own, PlannedHead& planned) {
  const int n = std::max(0, static_cast<int>(planned.rows.size()) - format.n_residual);
  const int per_page = kv::rows_per_page(own);
  planned.type = format.type;
  int n_own = 0;
  for (int i = 0; i < n; ++i) {
    const kv::RowPlace place = table.place(planned.rows[i]);
    if (kv::is_quantized(table.entries[place.entry].type)) continue;
    if (++n_own % per_page == 0) planned.n_quantized = i + 1;
  }
}

// False: there is no page for it.
bool commit_head(kv::Sequence& sequence, const PlannedHead& planned) {
  if (planned.n_quantized > 0)
    return sequence.quantize_rows(planned.layer, planned.head, planned.rows, planned.n_quantized,
                                  planned.type);
  const bool has_new = !planned.k.empty(), has_bias = !planned.bias.empty();
  const kv::MergedRows merged{.first = planned.first_new,
                              .k = has_new ? planned.k.data() : nullptr,
                              .v = has_new ? planned.v.data() : nullptr,
                              .bias = has_bias ? planned.bias.data() : nullptr};
  return sequence.keep_rows(planned.layer, planned.head, planned.rows, merged);
}

}  // namespace

std::vector<PlannedHead> plan_compression(const CompressJob& job, ComputePool& threads) {
  const kv::CacheShape& shape = job.sequence->shape();
  std::vector<LayerInput> layers;
  for (int layer = 0; layer < shape.n_layers; ++layer) layers.push_back(layer_view(job, layer));

  std::vector<std::optional<Format>> formats(shape.n_heads());  // of several stages the last says it
  std::vector<Edit> edits;  // the last stage's are the only ones that may hold new rows
  for (const Stage& stage : job.press->stages(job.budget)) {
    edits = edits_of(stage, shape, layers, threads);
    for (size_t pair = 0; pair < edits.size(); ++pair) {
      check_channels(edits[pair], job.pool->head_dim());
      if (edits[pair].format) formats[pair] = edits[pair].format;
    }
    for (int layer = 0; layer < shape.n_layers; ++layer) {
      std::vector<std::vector<int32_t>> kept;
      for (int head = 0; head < shape.n_kv_heads; ++head)
        kept.push_back(std::move(edits[layer * shape.n_kv_heads + head].rows));
      layers[layer] = layers[layer].narrowed(kept);
    }
  }
  std::vector<PlannedHead> plan;
  for (const LayerInput& layer : layers)
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      const int pair = layer.layer() * shape.n_kv_heads + head;
      plan.push_back(plan_head(layer, head, std::move(edits[pair])));
      if (formats[pair])
        plan_format(job.sequence->table(layer.layer(), head), *formats[pair], shape.type, plan.back());
    }
  const auto removed = [](const PlannedHead& p) {
    return p.n_before - p.n_unseen - static_cast<int>(p.rows.size());
  };
  std::erase_if(plan,
                [&](const PlannedHead& p) { return removed(p) == 0 && p.k.empty() && p.n_quantized == 0; });
  std::stable_sort(plan.begin(), plan.end(),
                   [&](const PlannedHead& a, const PlannedHead& b) { return removed(a) > removed(b); });
  return plan;
}

CompressResult commit_compression(const CompressJob& job, std::vector<PlannedHead> plan) {
  CompressResult result{.rows_before = rows_seen(job)};
  const auto free_before = static_cast<int64_t>(job.pool->free_pages());
  for (PlannedHead& planned : plan) {
    assert(job.sequence->rows_held(planned.layer, planned.head) == planned.n_before);
    if (!commit_head(*job.sequence, planned)) result.uncommitted.push_back(std::move(planned));
  }
  const auto pages_freed = static_cast<int64_t>(job.pool->free_pages()) - free_before;
  result.bytes_freed = pages_freed * static_cast<int64_t>(job.pool->page_bytes());
  result.rows_after = rows_seen(job);
  return result;
}

CompressResult compress(const CompressJob& job, ComputePool& threads) {
  return commit_compression(job, plan_compression(job, threads));
}

}  // namespace fastcache::press
