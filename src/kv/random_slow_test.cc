// SPDX-License-Identifier: Apache-2.0
// Random operations against a plain reference, millions of them, many seeds. FASTCACHE_TEST_SEED repeats a
// run.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/test_seed.h"
#include "kv/random_model_press.h"

namespace fastcache::kv {

TEST(KvRandom, SequencesHoldWhatTheReferenceHolds) {
  for (uint64_t i = 0; i < 20 && !HasFailure(); ++i) {
    RandomModel model{test_seed() + i};
    model.run(250'000);
    std::printf("%s\n", model.counts().c_str());
  }
}

}  // namespace fastcache::kv
