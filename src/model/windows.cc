// SPDX-License-Identifier: Apache-2.0
#include "model/windows.h"

#include <algorithm>

#include "attention/attention.h"

namespace fastcache::model {
namespace {

// What the query at a position sees first.
int32_t first_seen(const HParams& hparams, int32_t position) { return position - hparams.sliding_window + 1; }

}  // namespace

size_t unseen_pages(const HParams& hparams, const kv::Sequence& sequence) {
  size_t n = 0;
  const int32_t first = first_seen(hparams, sequence.next_position());
  const int multiple = attention::entries_per_group(sequence.shape().type);
  for (size_t layer = 0; layer < hparams.local_layers.size(); ++layer)
    if (hparams.local_layers[layer]) n += sequence.pages_before(static_cast<int>(layer), first, multiple);
  return n;
}

void free_unseen_pages(const HParams& hparams, kv::Sequence& sequence) noexcept {
  const int32_t first = first_seen(hparams, sequence.next_position());
  const int multiple = attention::entries_per_group(sequence.shape().type);
  for (size_t layer = 0; layer < hparams.local_layers.size(); ++layer)
    if (hparams.local_layers[layer]) sequence.free_before(static_cast<int>(layer), first, multiple);
}

bool can_truncate(const HParams& hparams, const kv::Sequence& sequence, int token_count) {
  if (token_count == 0 || token_count == sequence.token_count()) return true;
  const kv::TokenTable& tokens = sequence.tokens();
  const int32_t first = first_seen(hparams, tokens.position(token_count));
  for (size_t layer = 0; layer < hparams.local_layers.size(); ++layer) {
    if (!hparams.local_layers[layer]) continue;
    for (int head = 0; head < sequence.shape().n_kv_heads; ++head) {
      const int token = sequence.table(static_cast<int>(layer), head).first_token;
      if (token > 0 && tokens.position(token) > std::max(first, 0)) return false;
    }
  }
  return true;
}

}  // namespace fastcache::model
