// SPDX-License-Identifier: Apache-2.0
// Random operations against a plain reference. FASTCACHE_TEST_SEED repeats a run.
#include <cstdio>

#include "base/test_seed.h"
#include "engine/prefix_model_operations.h"

namespace fastcache::engine {

TEST(PrefixCacheRandom, KnowsWhatTheReferenceKnows) {
  PrefixModel model{test_seed()};
  model.run(60'000);
  std::printf("%s\n", model.counts().c_str());
}

}  // namespace fastcache::engine
