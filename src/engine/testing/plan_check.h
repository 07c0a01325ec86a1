// SPDX-License-Identifier: Apache-2.0
// Test support: what must hold of every plan, whatever the policy, checked from the values alone in plain
// loops that share nothing with the scheduler.
#pragma once

#include <string>

#include "engine/scheduler.h"

namespace fastcache::engine::testing {

// The first promise that the plan breaks, in words; empty if it keeps all.
std::string broken_promise(const SchedulerInput& input, const Plan& plan, const SchedulerConfig& config);

}  // namespace fastcache::engine::testing
