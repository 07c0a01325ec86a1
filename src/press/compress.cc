// SPDX-License-Identifier: Apache-2.0
#include "press/compress.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace fastcache::press {
namespace {

int64_t rows_held(const kv::Sequence& sequence) {
  const kv::CacheShape& shape = sequence.shape();
  int64_t n = 0;
  for (int layer = 0; layer < shape.n_layers; ++layer)
    for (int head = 0; head < shape.n_kv_heads; ++head) n += sequence.rows_held(layer, head);
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

using Formats = std::vector<std::optional<Format>>;  // [pair]

// [layer][head]: the candidates that one stage keeps. formats: overwritten where the stage says one.
std::vector<std::vector<std::vector<int32_t>>> kept_rows(const Stage& stage, const kv::CacheShape& shape,
                                                         std::span<const LayerInput> layers, Formats& formats,
                                                         ComputePool& threads) {
  const Scores scores = score_all(*stage.press, shape, layers, threads);
  const RowCounts counts = stage.press->allocate(scores, stage.budget);
  assert(static_cast<int>(counts.size()) == shape.n_heads());
  std::vector<std::vector<std::vector<int32_t>>> kept(shape.n_layers,
                                                      std::vector<std::vector<int32_t>>(shape.n_kv_heads));
  threads.parallel_for(shape.n_heads(), [&](int pair) {
    const int layer = pair / shape.n_kv_heads, head = pair % shape.n_kv_heads;
    Edit edit = stage.press->apply(layers[layer], head, scores.heads[pair], counts[pair]);
    kept[layer][head] = std::move(edit.rows);
    if (edit.format) formats[pair] = edit.format;
  });
  return kept;
}

// The rows in front of the candidates, then the candidates that are left.
PlannedHead plan_head(const LayerInput& layer, int head) {
  const int n_staying = layer.n_staying(head);
  PlannedHead planned{.layer = layer.layer(), .head = head, .n_before = n_staying + layer.n_behind(head)};
  planned.rows.resize(n_staying);
  std::iota(planned.rows.begin(), planned.rows.end(), 0);
  for (int row = 0; row < layer.n_rows(head); ++row)
    planned.rows.push_back(n_staying + layer.row_behind(head, row));
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

}  // namespace

std::vector<PlannedHead> plan_compression(const CompressJob& job, ComputePool& threads) {
  const kv::CacheShape& shape = job.sequence->shape();
  std::vector<LayerInput> layers;
  for (int layer = 0; layer < shape.n_layers; ++layer)
    layers.emplace_back(*job.pool, *job.sequence, layer, job.new_rows_only, job.record,
                        job.output_weights.empty() ? nullptr : job.output_weights[layer]);

  Formats formats(shape.n_heads());
  for (const Stage& stage : job.press->stages(job.budget)) {
    const auto kept = kept_rows(stage, shape, layers, formats, threads);
    for (int layer = 0; layer < shape.n_layers; ++layer) layers[layer] = layers[layer].narrowed(kept[layer]);
  }
  std::vector<PlannedHead> plan;
  for (const LayerInput& layer : layers)
    for (int head = 0; head < shape.n_kv_heads; ++head) {
      plan.push_back(plan_head(layer, head));
      if (const auto& format = formats[plan.size() - 1])
        plan_format(job.sequence->table(layer.layer(), head), *format, shape.type, plan.back());
    }
  const auto removed = [](const PlannedHead& p) { return p.n_before - static_cast<int>(p.rows.size()); };
  std::erase_if(plan, [&](const PlannedHead& p) { return removed(p) == 0 && p.n_quantized == 0; });
  std::stable_sort(plan.begin(), plan.end(),
                   [&](const PlannedHead& a, const PlannedHead& b) { return removed(a) > removed(b); });
  return plan;
}

CompressResult commit_compression(const CompressJob& job, std::vector<PlannedHead> plan) {
  CompressResult result{.rows_before = rows_held(*job.sequence)};
  const auto free_before = static_cast<int64_t>(job.pool->free_pages());
  for (PlannedHead& planned : plan) {
    assert(job.sequence->rows_held(planned.layer, planned.head) == planned.n_before);
    const bool done = planned.n_quantized == 0
                          ? job.sequence->keep_rows(planned.layer, planned.head, planned.rows)
                          : job.sequence->quantize_rows(planned.layer, planned.head, planned.rows,
                                                        planned.n_quantized, planned.type);
    if (!done) result.uncommitted.push_back(std::move(planned));
  }
  const auto pages_freed = static_cast<int64_t>(job.pool->free_pages()) - free_before;
  result.bytes_freed = pages_freed * static_cast<int64_t>(job.pool->page_bytes());
  result.rows_after = rows_held(*job.sequence);
  return result;
}

CompressResult compress(const CompressJob& job, ComputePool& threads) {
  return commit_compression(job, plan_compression(job, threads));
}

}  // namespace fastcache::press
