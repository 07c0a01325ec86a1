// SPDX-License-Identifier: Apache-2.0
// A conversation with compression in plain code: one sequence, one step after the other, nothing shared. The
// oracle for what the step loop makes of it.
#pragma once

#include <vector>

#include "engine/testing/loop_model.h"

namespace fastcache::engine::test_support {

struct ChatTurn {
  std::vector<int32_t> answer;
  int cached_tokens = 0;  // whose rows the turn found there
  size_t rows_before = 0, rows_after = 0;
};

// Each turn's prompt begins with the last one's prompt and answer. Greedy, bf16, no end of the answer but
// max_tokens; the compression is the first turn's.
std::vector<ChatTurn> chat_by_hand(LoopModel& model, const std::vector<Request>& turns);

}  // namespace fastcache::engine::test_support
