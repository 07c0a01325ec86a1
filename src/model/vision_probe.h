// SPDX-License-Identifier: Apache-2.0
// libmtmd asserts on some mmproj files that are well-formed as GGUF. Before this process loads one, a forked
// child does: all but the arithmetic of encoding a picture. Success is remembered as in vocab_probe.h.
#pragma once

#include <chrono>

#include "model/gguf_file.h"
#include "model/vocab.h"

namespace fastcache::model {

// Throws Error (invalid_model, bad_request) that says what libmtmd did. Failures are not remembered.
void probe_vision(const GgufFile& file, const Vocab& vocab,
                  std::chrono::milliseconds limit = std::chrono::seconds(60));

}  // namespace fastcache::model
