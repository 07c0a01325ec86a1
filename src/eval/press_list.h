// SPDX-License-Identifier: Apache-2.0
// Which methods are compared. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "press/params.h"
#include "press/press.h"

namespace fastcache::eval {

struct ModelGives {  // to presses
  int n_layers = 0;
  bool output_weights = false;
};

struct Method {
  std::string name;           // as the user wrote it, or as the catalogue has it
  press::PressParams params;  // parsed, without ratio and budget
  press::PressNeeds needs;
  int every = 0;  // tokens of a continuation between compressions; 0: only the context is compressed
};

// Random and StreamingLLM come first and are always there: what every method has to beat at the same bytes.
// texts: as press_string.h reads them, without ratio and budget; decoding(...) only where it is named. Empty:
// everything in the catalogue that takes a ratio and that an evaluation can feed; wrappers with the press
// that their authors wrap. Throws Error: not_found, bad_request, unsupported.
std::vector<Method> choose_methods(const std::vector<std::string>& texts, const ModelGives& gives,
                                   uint64_t seed);

// Of all methods together: one prefill serves them all. Throws Error (bad_request) where two of them want
// statistics of the queries over different tokens.
press::PressNeeds needs_of(const std::vector<Method>& methods);

// Simple means: no score at all, or one that looks at nothing but keys.
bool is_simple_baseline(const Method& method);

}  // namespace fastcache::eval
