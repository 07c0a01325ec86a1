// SPDX-License-Identifier: Apache-2.0
// Quality of compressed caches on retrieval: each task is read once, every method compresses a fork, and the
// question comes afterwards. Owner: one thread.
#pragma once

#include <span>
#include <vector>

#include "eval/press_list.h"
#include "eval/results.h"
#include "eval/text_quality.h"
#include "eval/texts.h"
#include "eval/workbench.h"

namespace fastcache::eval {

constexpr int kMethodsAtOnce = 6;  // that answer side by side

int task_count(const EvalOptions& options);  // all tasks at all lengths

// All of them. A task that the uncompressed model fails is not run on compressed caches. Fewer tasks than
// task_count(), or fewer examples in the last: it was stopped, and says what those examples alone would.
std::vector<TaskResult> measure_tasks(Workbench& bench, const std::vector<Method>& methods,
                                      std::span<const TokenText> filler, const EvalOptions& options,
                                      const Progress& progress);

}  // namespace fastcache::eval
