// SPDX-License-Identifier: Apache-2.0
// Quality of compressed caches on running text: a context is read once, each method compresses a fork of it,
// and the document goes on. Owner: one thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "eval/press_list.h"
#include "eval/results.h"
#include "eval/texts.h"
#include "eval/workbench.h"

namespace fastcache::eval {

// Called before each part of the work; done and of: samples of the kind that `what` names. False: stop, and
// leave out the sample that is not finished.
using Progress = std::function<bool(int done, int of, const std::string& what)>;

// What stays of the context for the model that has nearly none: gain is counted from there.
constexpr int kWindowFirst = 4, kWindowLast = 128;

// texts: each context_tokens + continuation_tokens + 1 tokens. Fewer documents than texts: it was stopped.
TextResult measure_text(Workbench& bench, const std::vector<Method>& methods,
                        std::span<const TokenText> texts, const EvalOptions& options,
                        const Progress& progress);

// What an even budget leaves resident of n tokens, all heads together.
size_t even_bytes(const Workbench& bench, int n_tokens, double removed);

}  // namespace fastcache::eval
