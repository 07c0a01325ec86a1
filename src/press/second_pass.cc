// SPDX-License-Identifier: Apache-2.0
#include "press/second_pass.h"

#include "press/query_attention.h"

namespace fastcache::press {

model::QueryRecord make_probe_record(const attention::AttentionShape& shape, int n_layers, int n_prompt) {
  return {.attention = shape, .probed = {n_layers, shape.n_kv_heads, n_prompt}};
}

void expect_probe_step(model::QueryRecord& record, int n_layers, int first_token, int end_token) {
  const attention::AttentionShape& shape = record.attention;
  record.chunk = {n_layers, shape.n_heads, shape.head_dim, first_token, end_token};
}

void observe_probe_step(const kv::PagePool& pool, const kv::Sequence& sequence, bool later_turn,
                        ComputePool& threads, model::QueryRecord& record) {
  threads.parallel_for(sequence.shape().n_layers, [&](int layer) {
    AttentionScratch scratch;
    observe_highest({pool, sequence, layer, later_turn, &record}, scratch, record);
  });
  record.chunk = {};
}

}  // namespace fastcache::press
