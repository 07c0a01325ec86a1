// SPDX-License-Identifier: Apache-2.0
// Fewer bits beside fewer rows: what quantised pages cost, and what methods that remove rows cost at the
// bytes that these pages hold. Owner: one thread.
#pragma once

#include "eval/press_list.h"
#include "eval/results.h"
#include "eval/score.h"
#include "eval/workbench.h"

namespace fastcache::eval {

// One for each number of bits that is smaller than the cache's own, its rows named but empty: the quantised
// cache first, then each of `methods` that stands beside it: the simple baselines, and snapkv where it is
// among them.
std::vector<FormatResult> formats_to_measure(kv::KvType kv_type, const std::vector<Method>& methods);

// One document more in each. continuation: n + 1 tokens; reference: of the uncompressed cache.
void measure_formats(Workbench& bench, const Context& context, std::span<const model::Token> continuation,
                     const Reference& reference, const std::vector<Method>& methods,
                     std::vector<FormatResult>& results);

}  // namespace fastcache::eval
