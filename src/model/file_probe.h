// SPDX-License-Identifier: Apache-2.0
// Tries in a child process what this process will later do with a file that may be broken or hostile, and
// remembers in the cache folder what went well. Inside model/ only.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>

#include "model/gguf_file.h"

namespace fastcache::model {

struct FileProbe {
  std::string version;                // of what is tried: another one tries a file again
  const char* subject;                // of the sentence when it goes wrong: "the vision encoder"
  std::function<std::string()> work;  // as run_in_child()'s; libllama and the log are silent there
  std::chrono::milliseconds limit;
  size_t memory_bytes = size_t{2} << 30;
};

// Throws Error: invalid_model (what is wrong), io (no child process).
void probe_file(const GgufFile& file, const FileProbe& probe);

}  // namespace fastcache::model
