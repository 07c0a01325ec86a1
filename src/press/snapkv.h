// SPDX-License-Identifier: Apache-2.0
// SnapKV's scores, for the presses that build on them.
#pragma once

#include "press/press.h"

namespace fastcache::press {

struct SnapKvParams {
  int window = 64;  // last tokens: their queries vote, their rows stay
  int kernel = 5;   // rows that a vote is spread over, odd
};

LayerScores snapkv_scores(const LayerInput& layer, const SnapKvParams& params);

// Throws Error (bad_request) for an even kernel.
SnapKvParams snapkv_params(const PressParams& params);

// Scores of one layer whose rows from first_token on must stay: they get the layer's highest score, growing
// by less than a thousandth from row to row, so that of a budget below the window the most recent rows stay.
void raise_recent(const LayerInput& layer, int first_token, LayerScores& scores);

}  // namespace fastcache::press
