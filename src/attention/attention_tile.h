// SPDX-License-Identifier: Apache-2.0
// One task of attention: a tile of query rows against some splits of one head's table. Runs on a compute
// thread; keeps its state on the stack (about 90 KiB, so it stays in cache from layer to layer) and allocates
// nothing.
#pragma once

#include "attention/attention_kernel.h"
#include "attention/attention_plan.h"

namespace fastcache::attention {

void run_task(const AttentionKernel& kernel, const AttentionBatch& batch, AttentionPlan& plan,
              const Task& task) noexcept;

}  // namespace fastcache::attention
