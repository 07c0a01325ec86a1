// SPDX-License-Identifier: Apache-2.0
#include "base/cpu_features.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace fastcache {

TEST(CpuFeatures, PortableIsAlwaysThereAndAvx512NeedsItsExtensions) {
  EXPECT_TRUE(isa_supported(Isa::portable, CpuFeatures{}));
  EXPECT_FALSE(isa_supported(Isa::avx2, CpuFeatures{}));
  CpuFeatures cpu;
  cpu.avx512 = true;
  EXPECT_FALSE(isa_supported(Isa::avx512, cpu));
  cpu.avx512_vnni = cpu.avx512_bf16 = true;
  EXPECT_TRUE(isa_supported(Isa::avx512, cpu));
}

// selected_isa() is read once a process, so each case runs in one of its own.
TEST(CpuFeaturesDeathTest, AForcedNameIsTakenOrRefused) {
  const auto selected_with = [](const char* forced) {
    setenv("FASTCACHE_ISA", forced, 1);
    try {
      std::exit(selected_isa() == Isa::portable ? 1 : 2);
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::exit(exit_code(error.code()));
    }
  };
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(selected_with("portable"), testing::ExitedWithCode(1), "");
  EXPECT_EXIT(selected_with("avx1024"), testing::ExitedWithCode(64), "avx512, avx2 or portable");
}

}  // namespace fastcache
