// SPDX-License-Identifier: Apache-2.0
// One random schedule through a StepLoop: requests of all kinds arrive at random steps in a random pool, and
// each must give the tokens that it gives alone. For the fast and the slow test.
#pragma once

#include <cstdint>
#include <string>

#include "engine/testing/loop_driver.h"
#include "engine/testing/loop_model.h"

namespace fastcache::engine::test_support {

struct ScheduleSizes {
  kv::KvType kv_type = kv::KvType::bf16;
  int most_requests = 10;
  int most_own_tokens = 60;  // of a prompt, behind what it shares with others
  int most_answers = 3;
  int most_new_tokens = 40;
  int least_pool_tokens = 160, most_pool_tokens = 600;
  bool deadlines = false;
};

// What all schedules together did: a test that asks for nothing of it could pass without any.
struct ScheduleCounts {
  int64_t preemptions = 0;
  int64_t cached_tokens = 0;
  int64_t compressions = 0;
  int64_t decode_compressions = 0;  // requests that were compressed during decoding
  int64_t quantizations = 0;        // requests whose rows got fewer bits and freed pages
  int64_t forks = 0;                // answers that went on from another's rows
  int64_t cancelled = 0, deadlines = 0;
};

// Empty, or what is wrong. Adds to counts.
std::string run_random_schedule(LoopModel& model, uint64_t seed, const ScheduleSizes& sizes,
                                ScheduleCounts& counts);

}  // namespace fastcache::engine::test_support
