// SPDX-License-Identifier: Apache-2.0
// Random operations against a plain reference, quick form. FASTCACHE_TEST_SEED repeats a run.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/test_seed.h"
#include "kv/random_model_press.h"

namespace fastcache::kv {

TEST(KvRandom, SequencesHoldWhatTheReferenceHolds) {
  RandomModel model{test_seed()};
  model.run(200'000);
  std::printf("%s\n", model.counts().c_str());
}

}  // namespace fastcache::kv
