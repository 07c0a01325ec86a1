// SPDX-License-Identifier: Apache-2.0
// A text continued on a cache, token by token as it stands in the document: how likely the model finds it,
// and how far its predictions are from those on the full cache. Owner: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/workbench.h"

namespace fastcache::eval {

// What the model says on the uncompressed cache.
struct Reference {
  double nll = 0;                    // mean of -ln p(right token), nats per token
  std::vector<float> probabilities;  // [n, n_vocab]
  std::vector<double> entropy;       // [n], nats
  std::vector<int32_t> top;          // [n], the likeliest token
};

struct Score {  // means over the tokens
  double nll = 0;
  double kl = 0;            // of the reference's distribution from this one, nats
  double top1 = 0;          // share of tokens whose likeliest successor is the reference's
  int n_tokens = 0;         // scored
  int n_on_compressed = 0;  // of them with logits from a cache that lacks rows or bits
  size_t peak_bytes = 0;    // the most that the cache held meanwhile
};

// continuation: n + 1 tokens behind those of the sequence. All are fed but the last, and n are scored: the
// successor of the sequence's own last token is not, for its logits come from the prefill. Throw Error:
// invalid_model (logits that are not finite), pool_too_small.
Reference score_reference(Workbench& bench, kv::Sequence& sequence,
                          std::span<const model::Token> continuation);
Score score(Workbench& bench, kv::Sequence& sequence, std::span<const model::Token> continuation,
            const Reference& reference);

// The same, and where the press comes again during decoding it does so behind each so many tokens, as in the
// engine.
Score score(Workbench& bench, Compressed& cache, std::span<const model::Token> continuation,
            const Reference& reference);

struct Softmax {
  double log_sum = 0;  // ln sum exp(logits)
  int32_t top = 0;     // the first of the largest
};
Softmax softmax(std::span<const float> logits);

}  // namespace fastcache::eval
