// SPDX-License-Identifier: Apache-2.0
// The whole evaluation: checks, texts, both kinds of quality. Owner: one thread.
#pragma once

#include "base/compute_pool.h"
#include "eval/results.h"
#include "eval/text_quality.h"
#include "model/loaded_model.h"

namespace fastcache::eval {

// A few minutes on two cores instead of half an hour: fewer and shorter samples, wider intervals.
EvalOptions quick_options();

// What can be checked before a model is loaded. Throws Error (bad_request, not_found).
void check_options(const EvalOptions& options);

// Checks the rest, then works. Where `progress` stops it, the result has the documents and the examples that
// were finished: their figures are those of a run that was asked for no more. Throws Error: those of
// check_options, context_too_long (context or a task's length beyond the model's), not_found and bad_request
// (texts), unsupported (a press that the model cannot feed), pool_too_small, invalid_model.
EvalResult evaluate(const model::LoadedModel& model, ComputePool& threads, const EvalOptions& options,
                    const Progress& progress);

}  // namespace fastcache::eval
