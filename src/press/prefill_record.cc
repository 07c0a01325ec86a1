// SPDX-License-Identifier: Apache-2.0
#include "press/prefill_record.h"

#include <algorithm>

#include "press/query_attention.h"

namespace fastcache::press {

model::QueryRecord make_record(const PressNeeds& needs, const attention::AttentionShape& shape, int n_layers,
                               RecordedTokens tokens) {
  model::QueryRecord record{.attention = shape};
  if (needs.last_queries > 0)
    record.last = {n_layers, shape.n_heads, shape.head_dim,
                   std::max(tokens.first, tokens.end - needs.last_queries), tokens.end};
  if (needs.query_statistics)
    record.moments = {n_layers, shape.n_heads, shape.head_dim, std::max(tokens.first, needs.statistics_skip),
                      tokens.end};
  if (needs.received_attention) record.received = {n_layers, shape.n_kv_heads, tokens.first, tokens.end};
  return record;
}

model::QueryRecord make_probe_record(const attention::AttentionShape& shape, int n_layers, int n_prompt) {
  return {.attention = shape, .probed = {n_layers, shape.n_kv_heads, n_prompt}};
}

void expect_step(model::QueryRecord& record, int n_layers, RecordedTokens step) {
  if (!record.received.wanted() && !record.probed.wanted()) return;
  const attention::AttentionShape& shape = record.attention;
  record.chunk = {n_layers, shape.n_heads, shape.head_dim, step.first, step.end};
}

void observe_step(const kv::PagePool& pool, const kv::Sequence& sequence, bool later_turn,
                  ComputePool& threads, model::QueryRecord& record) {
  if (!record.received.wanted() && !record.probed.wanted()) return;
  threads.parallel_for(sequence.shape().n_layers, [&](int layer) {
    AttentionScratch scratch;
    const LayerInput input{pool, sequence, layer, later_turn, &record};
    if (record.received.wanted()) observe_attention(input, scratch, record);
    if (record.probed.wanted()) observe_highest(input, scratch, record);
  });
  record.chunk = {};
}

}  // namespace fastcache::press
