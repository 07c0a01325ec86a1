// SPDX-License-Identifier: Apache-2.0
#include "bench/serving_load.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/log.h"

namespace fastcache::bench {
namespace {

// Beyond them, times overflow or are no numbers.
constexpr double kLeastRate = 0.001;
constexpr double kLeastBurstiness = 0.01, kMostBurstiness = 1000;

bool all_at_once(const ServingLoad& load) {
  return load.rate_per_s == 0 || load.rate_per_s == std::numeric_limits<double>::infinity();
}

// Times and prompts are drawn from streams of their own: another rate leaves the prompts as they were.
std::mt19937_64 stream(const ServingLoad& load, uint32_t which) {
  std::seed_seq seeds{static_cast<uint32_t>(load.seed), static_cast<uint32_t>(load.seed >> 32), which};
  return std::mt19937_64(seeds);
}

}  // namespace

void check(const ServingLoad& load) {
  if (load.requests < 1)
    throw Error{Code::bad_request, fmt::format("{} requests; there must be at least 1", load.requests)};
  if (!all_at_once(load) && !(load.rate_per_s >= kLeastRate)) {
    throw Error{
        Code::bad_request,
        fmt::format("a rate of {} requests per second; it must be at least {}, or 0 or inf for all at once",
                    load.rate_per_s, kLeastRate)};
  }
  if (!(load.burstiness >= kLeastBurstiness && load.burstiness <= kMostBurstiness)) {
    throw Error{Code::bad_request,
                fmt::format("a burstiness of {}; it must be {} to {} (1: Poisson arrivals)", load.burstiness,
                            kLeastBurstiness, kMostBurstiness)};
  }
  if (load.prompt_tokens < 1)
    throw Error{Code::bad_request,
                fmt::format("prompts of {} tokens; they must have at least 1", load.prompt_tokens)};
  if (load.shared_prefix_tokens < 0 || load.shared_prefix_tokens > load.prompt_tokens) {
    throw Error{Code::bad_request,
                fmt::format("a shared prefix of {} tokens; it must be 0 to {}, the prompts' "
                            "length",
                            load.shared_prefix_tokens, load.prompt_tokens)};
  }
}

std::vector<double> arrival_times_ms(const ServingLoad& load) {
  std::vector<double> times(static_cast<size_t>(load.requests), 0.0);
  if (all_at_once(load)) return times;
  std::mt19937_64 random = stream(load, 0);
  std::gamma_distribution<double> gap_ms(load.burstiness, 1e3 / (load.rate_per_s * load.burstiness));
  for (size_t i = 1; i < times.size(); ++i) times[i] = times[i - 1] + gap_ms(random);
  return times;
}

std::vector<std::vector<int32_t>> random_prompts(const ServingLoad& load) {
  std::mt19937_64 random = stream(load, 1);
  std::uniform_int_distribution<int32_t> token(0, load.n_vocab - 1);
  const auto draw = [&](int n) {
    std::vector<int32_t> tokens(static_cast<size_t>(n));
    for (int32_t& id : tokens) id = token(random);
    return tokens;
  };
  const std::vector<int32_t> prefix = draw(load.shared_prefix_tokens);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(load.requests));
  for (std::vector<int32_t>& prompt : prompts) {
    prompt = prefix;
    const std::vector<int32_t> own = draw(load.prompt_tokens - load.shared_prefix_tokens);
    prompt.insert(prompt.end(), own.begin(), own.end());
  }
  return prompts;
}

}  // namespace fastcache::bench
