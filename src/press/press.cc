// SPDX-License-Identifier: Apache-2.0
#include "press/press.h"

#include <spdlog/fmt/fmt.h>

#include "base/error.h"
#include "press/allocate.h"

namespace fastcache::press {

void check_needs(std::string_view press, const PressNeeds& needs, const PressNeeds& delivered) {
  const struct {
    bool needed, there;
    const char* what;
  } flags[] = {
      {needs.keys, delivered.keys, "the cached keys"},
      {needs.values, delivered.values, "the cached values"},
      {needs.query_statistics, delivered.query_statistics, "mean and covariance of the queries"},
      {needs.received_attention, delivered.received_attention, "the attention that each row received"},
      {needs.pre_rope_keys, delivered.pre_rope_keys, "the keys before RoPE"},
      {needs.hidden_states, delivered.hidden_states, "the hidden states"},
      {needs.output_weights, delivered.output_weights, "the attention output weights"},
      {needs.question_boundary, delivered.question_boundary, "the place where the question begins"},
      {needs.seed, delivered.seed, "a seed"},
  };
  const auto refuse = [&](const std::string& what) {
    throw Error{Code::unsupported,
                fmt::format("press '{}' needs {}, which this request cannot deliver; choose another press",
                            press, what)};
  };
  for (const auto& flag : flags)
    if (flag.needed && !flag.there) refuse(flag.what);
  if (needs.last_queries > delivered.last_queries)
    refuse(fmt::format("the queries of the last {} tokens (there are {})", needs.last_queries,
                       delivered.last_queries));
}

RowCounts Press::allocate(const Scores& scores, const Budget& budget) const {
  return uniform_counts(scores, budget);
}

Edit Press::apply(const LayerInput& /*layer*/, int /*head*/, std::span<const float> scores,
                  int n_keep) const {
  return {.rows = best_rows_ascending(scores, n_keep)};
}

}  // namespace fastcache::press
