// SPDX-License-Identifier: Apache-2.0
// The arithmetic loops are written in assembly: compilers keep an array of vector sums in memory rather
// easily, and then the "peak" is at 40 %. Twelve independent sums hide the latency of every pipeline so far.
#include "base/machine_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/compute_pool.h"
#include "base/cpu_features.h"
#include "base/simd.h"

namespace fastcache {
namespace {

constexpr int kLoops = 200'000;  // times 12 instructions: 0.7 ms at one per cycle
constexpr int kWindows = 40;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

#if defined(__x86_64__)
#define FC_TWELVE_ZMM(op)                                                                               \
  op " %%zmm30, %%zmm31, %%zmm0\n" op " %%zmm30, %%zmm31, %%zmm1\n" op " %%zmm30, %%zmm31, %%zmm2\n" op \
     " %%zmm30, %%zmm31, %%zmm3\n" op " %%zmm30, %%zmm31, %%zmm4\n" op " %%zmm30, %%zmm31, %%zmm5\n" op \
     " %%zmm30, %%zmm31, %%zmm6\n" op " %%zmm30, %%zmm31, %%zmm7\n" op " %%zmm30, %%zmm31, %%zmm8\n" op \
     " %%zmm30, %%zmm31, %%zmm9\n" op " %%zmm30, %%zmm31, %%zmm10\n" op " %%zmm30, %%zmm31, %%zmm11\n"
#define FC_ZERO_ZMM "vpxord %%zmm30, %%zmm30, %%zmm30\n vpxord %%zmm31, %%zmm31, %%zmm31\n"
#define FC_ZMM_CLOBBERS                                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "zmm30", \
      "zmm31"
#define FC_LOOP(zero, body, ...) \
  int n = kLoops;                \
  asm volatile(zero "1:\n" body "dec %0\n jnz 1b\n vzeroupper\n" : "+r"(n) : : "cc", __VA_ARGS__)
#define FC_TWELVE_YMM(op)                                                                               \
  op " %%ymm12, %%ymm13, %%ymm0\n" op " %%ymm12, %%ymm13, %%ymm1\n" op " %%ymm12, %%ymm13, %%ymm2\n" op \
     " %%ymm12, %%ymm13, %%ymm3\n" op " %%ymm12, %%ymm13, %%ymm4\n" op " %%ymm12, %%ymm13, %%ymm5\n" op \
     " %%ymm12, %%ymm13, %%ymm6\n" op " %%ymm12, %%ymm13, %%ymm7\n" op " %%ymm12, %%ymm13, %%ymm8\n" op \
     " %%ymm12, %%ymm13, %%ymm9\n" op " %%ymm12, %%ymm13, %%ymm10\n" op " %%ymm12, %%ymm13, %%ymm11\n"
// An 8-bit dot product without VNNI: products to 16 bits, pairs to 32 bits, added to the sum.
#define FC_DOT_YMM(sum)                                                                                   \
  "vpmaddubsw %%ymm12, %%ymm13, %%ymm14\n vpmaddwd %%ymm14, %%ymm15, %%ymm14\n vpaddd %%ymm14, %%ymm" sum \
  ", %%ymm" sum "\n"
#define FC_SIX_DOTS(a, b, c, d, e, f) \
  FC_DOT_YMM(a) FC_DOT_YMM(b) FC_DOT_YMM(c) FC_DOT_YMM(d) FC_DOT_YMM(e) FC_DOT_YMM(f)
#define FC_TWELVE_DOTS FC_SIX_DOTS("0", "1", "2", "3", "4", "5") FC_SIX_DOTS("6", "7", "8", "9", "10", "11")
#define FC_ZERO_YMM \
  "vpxor %%ymm12, %%ymm12, %%ymm12\n vpxor %%ymm13, %%ymm13, %%ymm13\n vpxor %%ymm15, %%ymm15, %%ymm15\n"
#define FC_YMM_CLOBBERS                                                                                      \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
      "xmm13", "xmm14", "xmm15"

FC_TARGET_BEGIN(FC_AVX512_TARGET)
void int8_avx512() { FC_LOOP(FC_ZERO_ZMM, FC_TWELVE_ZMM("vpdpbusd"), FC_ZMM_CLOBBERS); }
void bf16_avx512() { FC_LOOP(FC_ZERO_ZMM, FC_TWELVE_ZMM("vdpbf16ps"), FC_ZMM_CLOBBERS); }
void f32_avx512() { FC_LOOP(FC_ZERO_ZMM, FC_TWELVE_ZMM("vfmadd231ps"), FC_ZMM_CLOBBERS); }
FC_TARGET_END

FC_TARGET_BEGIN(FC_AVX2_TARGET)
void int8_avx2() { FC_LOOP(FC_ZERO_YMM, FC_TWELVE_DOTS, FC_YMM_CLOBBERS); }
void f32_avx2() { FC_LOOP(FC_ZERO_YMM, FC_TWELVE_YMM("vfmadd231ps"), FC_YMM_CLOBBERS); }
FC_TARGET_END
#endif

struct Loop {
  void (*run)() = nullptr;
  double operations = 0;  // per instruction
};

struct Loops {
  Loop int8, bf16, f32;
};

Loops loops_for(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx512) return {{int8_avx512, 128}, {bf16_avx512, 64}, {f32_avx512, 32}};
  if (isa == Isa::avx2) return {{int8_avx2, 64}, {}, {f32_avx2, 16}};
#endif
  (void)isa;
  return {};
}

// Every thread times itself in short windows while the others work too; its best window counts.
double arithmetic_rate(ComputePool& pool, const Loop& loop) {
  if (loop.run == nullptr) return 0;
  std::vector<double> best(static_cast<size_t>(pool.n_threads()), 1e9);
  pool.run([&](const WorkRange& range) {
    for (int i = 0; i < kWindows; ++i) {
      const Clock::time_point start = Clock::now();
      loop.run();
      best[static_cast<size_t>(range.thread)] =
          std::min(best[static_cast<size_t>(range.thread)], seconds_since(start));
    }
  });
  double rate = 0;
  for (double seconds : best) rate += 12.0 * kLoops * loop.operations / seconds;
  return rate;
}

uint64_t sum_words(const uint64_t* words, size_t n) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < n; i += 8) {
    __builtin_prefetch(words + i + 512);
    for (size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (uint64_t part : sums) sum += part;
  return sum;
}

// The threads share one memory, so the window runs from the first start to the last end.
double read_rate(ComputePool& pool) {
  constexpr size_t kWords = (size_t{256} << 20) / sizeof(uint64_t);
  constexpr size_t kPiece = (size_t{1} << 20) / sizeof(uint64_t);
  const std::vector<uint64_t> memory(kWords + 1024, 1);
  std::atomic<uint64_t> sum{0};
  double best = 1e9;
  for (int i = 0; i < 6; ++i) {
    const Clock::time_point start = Clock::now();
    pool.parallel_for(static_cast<int>(kWords / kPiece), [&](int piece) {
      sum += sum_words(memory.data() + static_cast<size_t>(piece) * kPiece, kPiece);
    });
    best = std::min(best, seconds_since(start));
  }
  return sum == 0 ? 0 : kWords * sizeof(uint64_t) / best;
}

}  // namespace

MachinePeak measure_peak(ComputePool& pool) {
  const Loops loops = loops_for(selected_isa());
  MachinePeak peak;
  peak.n_threads = pool.n_threads();
  peak.int8_per_second = arithmetic_rate(pool, loops.int8);
  peak.bf16_per_second = arithmetic_rate(pool, loops.bf16);
  peak.f32_per_second = arithmetic_rate(pool, loops.f32);
  peak.read_bytes_per_second = read_rate(pool);
  return peak;
}

}  // namespace fastcache
