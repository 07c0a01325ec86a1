// SPDX-License-Identifier: Apache-2.0
// The decoding wrapper as a press: what it wraps does the work, over all rows, each time. In the engine:
// engine/step_loop_decoding_test.cc.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/test_seed.h"
#include "press/press_string.h"
#include "press/test_cache.h"

namespace fastcache::press {
namespace {

TEST(Decoding, EachTimeItIsTheWrappedPressOverAllRows) {
  for (const std::string inner : {"knorm", "adakv(keydiff)", "chunkkv(cur)", "criticalkv(random)",
                                  "criticalkv(adakv(cur))", "chunk(knorm, chunk_length=32)"}) {
    RandomCache alone(150, test_seed()), wrapped(150, test_seed());
    PressParams params = parse_press(inner);
    params.budget = 60;
    for (int time = 0; time < 3; ++time) {
      run_press(params, alone.pool, alone.sequence);
      EXPECT_EQ(kept("decoding(" + inner + ", budget=60, every=30)", wrapped), tokens_held(alone.sequence))
          << inner;
      EXPECT_EQ(count_rows(tokens_held(wrapped.sequence)), 60 * kCacheLayers * kCacheHeads);
      alone.append(30, test_seed() + time + 1);
      wrapped.append(30, test_seed() + time + 1);
    }
  }
}

TEST(Decoding, SaysWhenItComesAgain) {
  EXPECT_EQ(make_press(parse_press("decoding(knorm(budget=9))"))->decode_interval(), 512);
  EXPECT_EQ(make_press(parse_press("decoding(knorm(budget=9), every=7)"))->decode_interval(), 7);
  EXPECT_EQ(make_press(parse_press("adakv(knorm(budget=9))"))->decode_interval(), 0);
  EXPECT_EQ(make_press(parse_press("decoding(snapkv(budget=9))"))->needs().last_queries, 64);
}

TEST(Decoding, BudgetAndIntervalAreInTheIdentity) {
  EXPECT_EQ(press_identity(parse_press("Decoding(KNorm(budget=2048), every=512)")),
            "decoding(knorm(), every=512, budget=2048)");
  EXPECT_EQ(press_identity(parse_press("decoding(random, every=5)", {.budget = 3, .seed = 4})),
            "decoding(random(seed=4), every=5, budget=3)");
}

TEST(Decoding, ARatioIsNoBound) {
  for (const char* text :
       {"decoding(knorm(ratio=0.5))", "decoding(knorm, ratio=0.5)", "decoding(knorm)",
        "decoding(per_layer(knorm, ratios=[0.5]))", "decoding(knorm(budget=5), every=1.5)"})
    EXPECT_THROW(make_press(parse_press(text)), Error) << text;
}

}  // namespace
}  // namespace fastcache::press
