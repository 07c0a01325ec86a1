// SPDX-License-Identifier: Apache-2.0
// Requests of a load as the JSON that an OpenAI-compatible server takes.
#pragma once

#include <string>
#include <vector>

#include "bench/load_prompts.h"

namespace fastcache::bench {

struct BodyOptions {
  std::string endpoint = "/v1/completions";  // its end says which API it is
  std::string model;                         // as the server names it
  int generate_tokens = 64;                  // where the prompt does not say
  bool ignore_eos = true;
  std::string extra;  // JSON object whose members are added, and win; empty: none
};

struct LoadBody {
  std::string json;
  int generate_tokens = 0;  // asked for
  int prompt_tokens = 0;    // 0: only the server knows
};

// Greedy, streamed, with usage. Throws Error (bad_request): an endpoint that is neither completions nor
// chat/completions, tokens for a chat, messages for a completion, extra that is no object.
std::vector<LoadBody> make_bodies(const std::vector<LoadPrompt>& prompts, const BodyOptions& options);

}  // namespace fastcache::bench
