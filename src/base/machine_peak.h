// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most, measured: the figures that a kernel's share of the limit is taken of.
#pragma once

namespace fastcache {

class ComputePool;

// Sums over all threads of a pool, all busy at once. Zero where the CPU (or FASTCACHE_ISA) has no such
// instruction.
struct MachinePeak {
  int n_threads = 0;
  double int8_per_second =
      0;  // additions and multiplications of 8-bit dot products (VPDPBUSD; AVX2: VPMADDUBSW)
  double bf16_per_second = 0;        // the same of VDPBF16PS
  double f32_per_second = 0;         // the same of f32 FMA
  double read_bytes_per_second = 0;  // from memory far larger than the caches
};

// Takes about a second; the pool must be idle. Best of several short windows, since other programs may
// disturb it.
MachinePeak measure_peak(ComputePool& pool);

}  // namespace fastcache
