// SPDX-License-Identifier: Apache-2.0
// What presses want of a prompt's queries, gathered while its steps run: make_record(), then around each step
// expect_step() and observe_step(). So are those of extra passes (Press::probes): the tokens of each pass are
// appended behind the prompt's, and at the end the sequence is truncated to the prompt; then `probed` of
// make_probe_record()'s record is what the press's own record needs. Owner: the engine thread, between steps.
#pragma once

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/query_record.h"
#include "press/press.h"

namespace fastcache::press {

struct RecordedTokens {
  int first = 0;  // > 0: the rows in front were there before and bring no queries
  int end = 0;    // of the prompt
};

// Memory for what `needs` asks for; what it does not ask for stays empty.
model::QueryRecord make_record(const PressNeeds& needs, const attention::AttentionShape& shape, int n_layers,
                               RecordedTokens tokens);

// For extra passes: nothing else that a press looks at may see their queries, so this is a record of its own.
model::QueryRecord make_probe_record(const attention::AttentionShape& shape, int n_layers, int n_prompt);

// Before a step that computes these tokens.
void expect_step(model::QueryRecord& record, int n_layers, RecordedTokens step);

// After it: what the sequence's rows received of its queries. later_turn: rows that a press kept earlier are
// no candidates (CompressJob::new_rows_only).
void observe_step(const kv::PagePool& pool, const kv::Sequence& sequence, bool later_turn,
                  ComputePool& threads, model::QueryRecord& record);

}  // namespace fastcache::press
