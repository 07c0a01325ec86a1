// SPDX-License-Identifier: Apache-2.0
// `fastcache run --image`: one answer about pictures.
#pragma once

#include "cli/session.h"

namespace fastcache::cli {

// Prints the answer as it comes, then statistics. Returns the exit code: that of Code::cancelled after
// Ctrl-C. Throws Error: the pictures (before the model is loaded), the model, its vision encoder.
int answer_about_pictures(const RunOptions& options);

}  // namespace fastcache::cli
