// SPDX-License-Identifier: Apache-2.0
// Rows of local layers that have left the sliding window: no later query of their sequence sees them, so
// their pages are given back. Positions are logical ones, so this holds for compressed sequences too. All
// functions do nothing, at no cost, for models without local layers. Owner: the engine thread, between steps.
//
// What is freed does not come back. Who goes back to an earlier token asks can_truncate() first; forks and
// entries of the prefix cache own their pages themselves and lose none.
#pragma once

#include <cstddef>

#include "kv/sequence.h"
#include "model/hparams.h"

namespace fastcache::model {

// Pages of the sequence that free_unseen_pages() would let go of.
size_t unseen_pages(const HParams& hparams, const kv::Sequence& sequence);
// Changes no bit of later logits, whenever and however often it is called (attention::entries_per_group()).
void free_unseen_pages(const HParams& hparams, kv::Sequence& sequence) noexcept;

// Whether all rows that the tokens behind the first token_count see would be there, of a sequence that was
// never compressed. 0 <= token_count <= sequence.token_count().
bool can_truncate(const HParams& hparams, const kv::Sequence& sequence, int token_count);

}  // namespace fastcache::model
