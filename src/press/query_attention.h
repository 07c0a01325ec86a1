// SPDX-License-Identifier: Apache-2.0
// How much attention the kept queries pay to the rows of a KV head: what the presses that observe a window of
// queries have in common.
#pragma once

#include <span>
#include <vector>

#include "press/layer_input.h"

namespace fastcache::press {

// Memory that is reused from head to head. One per thread.
struct AttentionScratch {
  std::vector<float> keys;     // [rows held, head_dim]
  std::vector<float> queries;  // [head_dim, lanes]
  std::vector<float> weights;  // [rows held, lanes]
  std::vector<float> maxima;   // [tiles, lanes]
};

// Softmax attention of the queries of the record's last n_tokens tokens, each over all rows that the head
// holds and the query may see, summed over these tokens and the head's group of query heads.
// sums: [candidates of the head]; set. A row whose key is not finite counts as unseen.
void attention_sums(const LayerInput& layer, int head, int n_tokens, AttentionScratch& scratch,
                    std::span<float> sums);

// Adds the attention of the queries in record.chunk, whose tokens are the newest of the sequence, to
// record.received, for one layer. Query by query: no bit depends on how the tokens come in chunks.
void observe_attention(const LayerInput& layer, AttentionScratch& scratch, model::QueryRecord& record);

// Raises record.probed to the attention of the same queries, for an extra pass: rows are those of the tokens
// that it has, the pass's own are seen but not counted. No bit depends on chunks here either.
void observe_highest(const LayerInput& layer, AttentionScratch& scratch, model::QueryRecord& record);

inline int queries_per_kv_head(const LayerInput& layer) {
  if (layer.record() == nullptr) return 1;
  return layer.record()->attention.n_heads / layer.record()->attention.n_kv_heads;
}

// The record's tokens that a window of that many really has, and the first of them; 0 where nothing was kept.
int window_tokens(const LayerInput& layer, int window);
int first_window_token(const LayerInput& layer, int window);

}  // namespace fastcache::press
