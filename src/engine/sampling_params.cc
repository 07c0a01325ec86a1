// SPDX-License-Identifier: Apache-2.0
#include "engine/sampling_params.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"

namespace fastcache::engine {
namespace {

// Written so that NaN is refused too.
template <class Number>
void check_range(const char* name, Number value, Number least, Number most) {
  if (value >= least && value <= most) return;
  throw Error{Code::bad_request, fmt::format("{} is {}; it must be from {} to {}", name, value, least, most)};
}

}  // namespace

void check(const SamplingParams& params) {
  check_range("temperature", params.temperature, 0.0f, 100.0f);
  check_range("top_p", params.top_p, 0.0f, 1.0f);
  check_range("min_p", params.min_p, 0.0f, 1.0f);
  if (params.top_k < 0)
    throw Error{Code::bad_request, fmt::format("top_k is {}; it must be 0 (off) or more", params.top_k)};
  check_range("repetition_penalty", params.repetition_penalty, 0.01f, 10.0f);
  check_range("presence_penalty", params.presence_penalty, -2.0f, 2.0f);
  check_range("frequency_penalty", params.frequency_penalty, -2.0f, 2.0f);
  check_range("repeat_last_n", params.repeat_last_n, -1, 1000000);
  if (params.min_tokens < 0)
    throw Error{Code::bad_request, fmt::format("min_tokens is {}; it must be 0 or more", params.min_tokens)};
  check_range("logprobs", params.logprobs, -1, 20);
  if (params.logit_bias.size() > kMaxLogitBiases) {
    throw Error{Code::bad_request, fmt::format("logit_bias has {} entries; it may have at most {}",
                                               params.logit_bias.size(), kMaxLogitBiases)};
  }
  for (const LogitBias& entry : params.logit_bias) {
    if (entry.bias >= -100.0f && entry.bias <= 100.0f) continue;
    throw Error{Code::bad_request, fmt::format("logit_bias of token {} is {}; it must be from -100 to 100",
                                               entry.token, entry.bias)};
  }
  if (!params.grammar.empty() && !params.json_schema.empty()) {
    throw Error{Code::bad_request, "grammar and json_schema are both given; only one of them can be obeyed"};
  }
}

}  // namespace fastcache::engine
