// SPDX-License-Identifier: Apache-2.0
// K and V rows of a head as f32, wherever they lie: for statistics over pages in the compress stage.
// Attention never goes this way.
#pragma once

#include "kv/page_layout.h"

namespace fastcache::kv {

// Rows [begin, begin + n) of the head, from pages of any types. k, v: [n, head_dim]; either may be null.
// Gives what is stored: position_delta and extras are the caller's matter. Any thread, while nobody changes
// the sequence.
void read_head_rows(const PageMemory& memory, int head_dim, const HeadRows& head, int begin, int n, float* k,
                    float* v);

// What is added to the scores of rows [begin, begin + n). bias: [n]; 0 where nothing is.
void read_head_biases(const HeadRows& head, int begin, int n, float* bias);

}  // namespace fastcache::kv
