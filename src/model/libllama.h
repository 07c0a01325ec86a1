// SPDX-License-Identifier: Apache-2.0
// libllama's global state: started once, its log sent to ours at level debug. Thread-safe.
#pragma once

#include <llama.h>

#include <memory>
#include <string>

namespace fastcache::model {

void start_llama_library();  // the first call counts; cheap afterwards

// The last line that libllama logged as an error on this thread, and forgets it: its functions return only
// null.
std::string take_llama_error();

// In a forked child, where our logger's locks may be held for ever: keeps errors for take_llama_error, writes
// nothing.
void silence_llama_library();

struct LlamaModelDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
using LlamaModelPtr = std::unique_ptr<llama_model, LlamaModelDeleter>;

}  // namespace fastcache::model
