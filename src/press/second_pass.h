// SPDX-License-Identifier: Apache-2.0
// What presses want of extra passes (Press::probes), gathered while their steps run. Each pass: its tokens
// are appended behind the prompt's, step by step; around each step expect_probe_step() and
// observe_probe_step(); at the end the sequence is truncated to the prompt. Then record.probed is what the
// press's record needs. Owner: the engine thread, between steps.
#pragma once

#include "base/compute_pool.h"
#include "kv/page_pool.h"
#include "kv/sequence.h"
#include "model/query_record.h"

namespace fastcache::press {

// A record of its own: nothing else that a press looks at may see the passes' queries.
model::QueryRecord make_probe_record(const attention::AttentionShape& shape, int n_layers, int n_prompt);

// Before a step that computes tokens [first_token, end_token), of the sequence.
void expect_probe_step(model::QueryRecord& record, int n_layers, int first_token, int end_token);

// After it. later_turn: CompressJob::new_rows_only.
void observe_probe_step(const kv::PagePool& pool, const kv::Sequence& sequence, bool later_turn,
                        ComputePool& threads, model::QueryRecord& record);

}  // namespace fastcache::press
