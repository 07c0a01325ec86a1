// SPDX-License-Identifier: Apache-2.0
// Between two layers of a step: what TokenPruners drop leaves the batch and the tables of the layers behind.
// Owner: the engine thread, while no compute thread is at work. Inside of Runner.
#pragma once

#include "model/step_context.h"

namespace fastcache::model {

// The layer behind which a step drops tokens; -1: it drops none. Throws Error (unsupported) where its
// sequences name different layers, or one that has no layer behind it.
int prune_layer(const StepContext& context);

// Asks each sequence's pruner, removes the rows of dropped tokens from the layers behind and from the batch,
// and plans the attention of these layers anew. Throws Error (internal): what a pruner kept is not what it
// may keep; a logit was wanted of a dropped token.
void prune_step(StepContext& context, const kv::PageMemory& pages, const attention::AttentionShape& shape,
                int after_layer);

}  // namespace fastcache::model
