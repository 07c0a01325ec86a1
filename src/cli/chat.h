// SPDX-License-Identifier: Apache-2.0
// The chat on a terminal: one question a line.
#pragma once

#include "cli/session.h"

namespace fastcache::cli {

// Until the end of input (Ctrl-D). A question that fails is taken back, so that the next one starts from a
// state that worked. Throws Error (io) when standard output is gone.
void chat(Session& session);

}  // namespace fastcache::cli
