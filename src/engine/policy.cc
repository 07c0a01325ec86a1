// SPDX-License-Identifier: Apache-2.0
#include "engine/policy.h"

#include <spdlog/fmt/fmt.h>

#include <string>

#include "base/error.h"

namespace fastcache::engine {
namespace {

constexpr PolicyEntry kPolicies[] = {
    {"fcfs", make_fcfs_policy, "one prompt after the other, with the whole token budget"},
    {"dynamic", make_dynamic_policy, "prompts as fast as running answers keep their inter-token latency"},
};

}  // namespace

std::span<const PolicyEntry> policies() { return kPolicies; }

std::unique_ptr<Policy> make_policy(std::string_view name, const PolicyConfig& config) {
  if (!(config.itl_target_ms > 0))
    throw Error{Code::bad_request,
                fmt::format("itl_target_ms {} must be greater than 0", config.itl_target_ms)};
  if (config.min_prefill_tokens < 1)
    throw Error{Code::bad_request,
                fmt::format("min_prefill_tokens {} must be at least 1", config.min_prefill_tokens)};
  std::string names;
  for (const PolicyEntry& entry : kPolicies) {
    if (entry.name == name) return entry.make(config);
    names += (names.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw Error{Code::bad_request,
              fmt::format("there is no scheduler policy \"{}\"; there are: {}", name, names)};
}

}  // namespace fastcache::engine
