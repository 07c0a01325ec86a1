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

Scores score_all(const CompressJob& job, std::span<const LayerInput> layers, ComputePool& threads) {
  const kv::CacheShape& shape = job.sequence->shape();
  Scores scores{.n_layers = shape.n_layers, .n_kv_heads = shape.n_kv_heads};
  scores.heads.resize(shape.n_heads());
  scores.n_staying.resize(shape.n_heads());
  threads.parallel_for(shape.n_layers, [&](int layer) {
    LayerScores of_layer = job.press->score(layers[layer]);
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

// The rows in front of the candidates, then the candidates that stay.
PlannedHead plan_head(const Press& press, const LayerInput& layer, int head, const HeadScores& scores,
                      int n_keep) {
  const int n_staying = layer.n_staying(head);
  PlannedHead planned{.layer = layer.layer(), .head = head, .n_before = n_staying + layer.n_rows(head)};
  planned.rows.resize(n_staying);
  std::iota(planned.rows.begin(), planned.rows.end(), 0);
  for (const int32_t row : press.apply(layer, head, scores, n_keep).rows)
    planned.rows.push_back(n_staying + row);
  return planned;
}

}  // namespace

std::vector<PlannedHead> plan_compression(const CompressJob& job, ComputePool& threads) {
  const kv::CacheShape& shape = job.sequence->shape();
  std::vector<LayerInput> layers;
  for (int layer = 0; layer < shape.n_layers; ++layer)
    layers.emplace_back(*job.pool, *job.sequence, layer, job.new_rows_only, job.record);

  const Scores scores = score_all(job, layers, threads);
  const RowCounts counts = job.press->allocate(scores, job.budget);
  assert(static_cast<int>(counts.size()) == shape.n_heads());

  std::vector<PlannedHead> plan(shape.n_heads());
  threads.parallel_for(shape.n_heads(), [&](int pair) {
    plan[pair] = plan_head(*job.press, layers[pair / shape.n_kv_heads], pair % shape.n_kv_heads,
                           scores.heads[pair], counts[pair]);
  });
  const auto removed = [](const PlannedHead& p) { return p.n_before - static_cast<int>(p.rows.size()); };
  std::erase_if(plan, [&](const PlannedHead& p) { return removed(p) == 0; });
  std::stable_sort(plan.begin(), plan.end(),
                   [&](const PlannedHead& a, const PlannedHead& b) { return removed(a) > removed(b); });
  return plan;
}

CompressResult commit_compression(const CompressJob& job, std::vector<PlannedHead> plan) {
  CompressResult result{.rows_before = rows_held(*job.sequence)};
  const auto free_before = static_cast<int64_t>(job.pool->free_pages());
  for (PlannedHead& planned : plan) {
    assert(job.sequence->rows_held(planned.layer, planned.head) == planned.n_before);
    if (!job.sequence->keep_rows(planned.layer, planned.head, planned.rows))
      result.uncommitted.push_back(std::move(planned));
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
