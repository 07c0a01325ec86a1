// SPDX-License-Identifier: Apache-2.0
#include "press/press.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "base/error.h"
#include "press/allocate.h"

namespace fastcache::press {

PressNeeds united(PressNeeds a, const PressNeeds& b) {
  a.keys |= b.keys;
  a.values |= b.values;
  a.last_queries = std::max(a.last_queries, b.last_queries);
  if (b.query_statistics)
    a.statistics_skip =
        a.query_statistics ? std::min(a.statistics_skip, b.statistics_skip) : b.statistics_skip;
  a.query_statistics |= b.query_statistics;
  a.received_attention |= b.received_attention;
  a.second_pass |= b.second_pass;
  a.pre_rope_keys |= b.pre_rope_keys;
  a.hidden_states |= b.hidden_states;
  a.output_weights |= b.output_weights;
  a.question_boundary |= b.question_boundary;
  a.seed |= b.seed;
  a.new_rows |= b.new_rows;
  a.key_channels |= b.key_channels;
  if (a.n_layers == 0) a.n_layers = b.n_layers;
  a.page_bits = std::max(a.page_bits, b.page_bits);
  return a;
}

void check_needs(std::string_view press, const PressNeeds& needs, const PressNeeds& delivered) {
  const struct {
    bool needed, there;
    const char* what;
  } flags[] = {
      {needs.keys, delivered.keys, "the cached keys"},
      {needs.values, delivered.values, "the cached values"},
      {needs.query_statistics, delivered.query_statistics, "mean and covariance of the queries"},
      {needs.received_attention, delivered.received_attention, "the attention that each row received"},
      {needs.second_pass, delivered.second_pass, "a second pass over the prompt"},
      {needs.pre_rope_keys, delivered.pre_rope_keys, "the keys before RoPE"},
      {needs.hidden_states, delivered.hidden_states, "the hidden states"},
      {needs.output_weights, delivered.output_weights, "the attention output weights"},
      {needs.question_boundary, delivered.question_boundary, "the place where the question begins"},
      {needs.seed, delivered.seed, "a seed"},
      {needs.key_channels, delivered.key_channels, "pages that hold some channels of the keys only"},
      {needs.new_rows, delivered.new_rows, "rows of its own in the cache"},
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
  if (needs.n_layers != 0 && needs.n_layers != delivered.n_layers)
    throw Error{Code::unsupported, fmt::format("press '{}' is said for {} layers; the model has {}", press,
                                               needs.n_layers, delivered.n_layers)};
  if (needs.page_bits != 0 && needs.page_bits >= delivered.page_bits)
    throw Error{
        Code::unsupported,
        fmt::format("press '{}' makes elements of {} bits, and those of the cache have {} already; it "
                    "takes fewer bits, or a cache of more (--kv-type)",
                    press, needs.page_bits, delivered.page_bits)};
}

std::vector<std::string> need_names(const PressNeeds& needs) {
  std::vector<std::string> names;
  const auto add = [&](bool needed, const std::string& name) {
    if (needed) names.push_back(name);
  };
  add(needs.keys, "keys");
  add(needs.values, "values");
  add(needs.last_queries > 0, fmt::format("last {} queries", needs.last_queries));
  add(needs.query_statistics, "query mean and covariance");
  add(needs.received_attention, "received attention");
  add(needs.second_pass, "second pass");
  add(needs.pre_rope_keys, "keys before RoPE");
  add(needs.hidden_states, "hidden states");
  add(needs.output_weights, "output weights");
  add(needs.question_boundary, "question boundary");
  add(needs.seed, "seed");
  add(needs.key_channels, "pages with fewer key channels");
  add(needs.new_rows, "new rows");
  add(needs.n_layers > 0, fmt::format("{} layers", needs.n_layers));
  add(needs.page_bits > 0, fmt::format("a cache of more than {} bits", needs.page_bits));
  return names;
}

RowCounts Press::allocate(const Scores& scores, const Budget& budget) const {
  return uniform_counts(scores, budget);
}

Edit Press::apply(const LayerInput& /*layer*/, int /*head*/, std::span<const float> scores,
                  int n_keep) const {
  return {.rows = best_rows_ascending(scores, n_keep)};
}

}  // namespace fastcache::press
