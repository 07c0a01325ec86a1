// SPDX-License-Identifier: Apache-2.0
// What a request may ask of the sampler, and the ranges.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fastcache {

struct LogitBias {
  int32_t token = 0;
  float bias = 0.0f;  // added to the logit; exactly -100 bans the token
};

// Applied in libllama's order: logit_bias, penalties, top_k, top_p, min_p, temperature.
struct SamplingParams {
  float temperature = 0.0f;  // 0 to 100; below 0.0001 = greedy: top_k, top_p and min_p do nothing then
  int top_k = 40;            // 0 = off
  float top_p = 0.95f;       // 0 to 1; 1 = off
  float min_p = 0.05f;       // 0 to 1; 0 = off
  uint64_t seed = 0;

  // Tokens in the last repeat_last_n of prompt and answer: a positive logit is divided by repetition_penalty,
  // another multiplied. For the answer's tokens among them, presence_penalty and count x frequency_penalty
  // are then taken off.
  float repetition_penalty = 1.0f;  // 0.01 to 10; 1 = off
  float presence_penalty = 0.0f;    // -2 to 2; 0 = off
  float frequency_penalty = 0.0f;   // -2 to 2; 0 = off
  int repeat_last_n = -1;           // -1 = all tokens, 0 = no penalties, at most 1000000

  std::vector<LogitBias> logit_bias = {};  // at most 1024; a token named twice gets the sum

  int min_tokens = 0;       // of the answer before a token may end it, or a stop string (TextStream)
  bool ignore_eos = false;  // no token ends the answer; where a grammar is complete, it ends all the same

  // At most one of them. What they allow is all that can be sampled; control tokens cannot.
  std::string grammar = {};      // GBNF with a rule `root`
  std::string json_schema = {};  // JSON text

  int logprobs = -1;  // -1 = none; 0 to 20: the chosen token's and those of so many of the likeliest
};

}  // namespace fastcache
