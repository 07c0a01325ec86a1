// SPDX-License-Identifier: Apache-2.0
// Proof that pool, sequences and blocks agree. Walks everything: for tests, on demand, and sampled in debug
// builds. Owner: the engine thread.
#pragma once

#include <span>

#include "kv/block.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"

namespace fastcache::kv {

// All sequences and blocks that live on the pool must be given. Throws Error (internal) that says what
// disagrees: a page that leaked, is free while owned, counts the wrong owners or category, or a broken
// invariant of a sequence.
void check_consistency(const PagePool& pool, std::span<const Sequence* const> sequences,
                       std::span<const Block* const> blocks);

}  // namespace fastcache::kv
