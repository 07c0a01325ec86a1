// SPDX-License-Identifier: Apache-2.0
// What the requests of a load ask: from a file of prompts, or made up.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/serving_load.h"

namespace fastcache::bench {

// One of the three: text, tokens, messages.
struct LoadPrompt {
  std::string text;
  std::vector<int32_t> tokens;
  std::string messages;     // JSON array of chat messages
  int generate_tokens = 0;  // that this prompt's answer should have; 0: what all have
};

using CountTokens = std::function<int(std::string_view)>;

// About four bytes a token: for where no vocabulary is at hand.
int estimate_tokens(std::string_view text);

// By the name's ending:
//   .jsonl  a line is {"prompt": "..."}, {"prompt": [token ids]} or {"messages": [...]}, with or without
//   "max_tokens" .json   ShareGPT: [{"conversations": [{"from": "human", "value": "..."}, {"from": "gpt",
//   ...}]}]: the first
//           question, and the length of its answer by count_tokens; conversations without both are left out
//   others  text: a prompt a line; empty lines are left out
// Throws Error with the line: not_found, bad_request for what is broken, has no prompt or no valid UTF-8.
std::vector<LoadPrompt> read_prompts(const std::string& path, const CountTokens& count_tokens);

// n of them in an order that the seed decides; once more through all of them where there are too few.
std::vector<LoadPrompt> draw_prompts(const std::vector<LoadPrompt>& all, int n, uint64_t seed);

// [requests] as token ids where load.n_vocab says of how many, else as short English words, of which most
// vocabularies make one token each.
std::vector<LoadPrompt> synthetic_prompts(const ServingLoad& load);

}  // namespace fastcache::bench
