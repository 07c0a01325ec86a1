// SPDX-License-Identifier: Apache-2.0
// libllama aborts on some vocabularies and chat templates that are well-formed as GGUF. Before this process
// loads one, a forked child does, once per file: success is remembered in the cache folder under the hash of
// the file's header. See child_process.h for when it may be called.
#pragma once

#include <chrono>

#include "model/gguf_file.h"

namespace fastcache::model {

// Throws Error (invalid_model, unsupported) that says what libllama did. Failures are not remembered.
void probe_vocab(const GgufFile& file, std::chrono::milliseconds limit = std::chrono::seconds(30));

}  // namespace fastcache::model
